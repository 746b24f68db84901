"""Fixtures that tests of several folders share."""

import gc
import sys

import pytest
from support import made_once, readme_file, without_graph_rewriting


@pytest.fixture(scope="session")
def plain_space(tmp_path_factory):
    """Path of the README's example of a search space of one's own: 18 small networks that train in a second."""
    path = tmp_path_factory.mktemp("space") / "plain_space.py"
    path.write_text(readme_file("plain_space.py"))
    return path


@pytest.fixture(scope="module", autouse=True)
def quick_tensorflow():
    """Once a module has imported TensorFlow, its graphs are not rewritten, and what exists by now is left out of later
    searches for garbage, which `clear_session` begins for every network. Spawned workers rewrite their graphs."""
    if "tensorflow" in sys.modules:
        without_graph_rewriting()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def parent(tmp_path_factory):
    """The folder of a small trained network, and its description."""
    from parent_support import write_parent

    from nas_tf.networks.folder import read_description

    folder = made_once(tmp_path_factory, "parent", lambda folder: write_parent(folder / "net")) / "net"
    return folder, read_description(folder)


@pytest.fixture(scope="session")
def accuracy_table(parent, tmp_path_factory):
    """Path of an accuracy table of the parent, made with stops."""
    from accuracy_table_support import make_with_stops, plan_of

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            make_with_stops(plan_of(*parent), folder / "digits.json", patch)

    return made_once(tmp_path_factory, "accuracy_table", make) / "digits.json"


@pytest.fixture(scope="session")
def cell_table(tmp_path_factory):
    """Path of a table of all cells of NAS-Bench-201 with made-up figures."""
    from tabular_support import write_cell_table

    return write_cell_table(tmp_path_factory.mktemp("cells") / "cells.json")
