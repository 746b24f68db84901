"""A parent for judges whose children inherit, and an accuracy table of it."""

import pytest
from accuracy_table_support import make_with_stops, plan_of
from parent_support import write_parent
from support import made_once

from nas_tf.networks.folder import read_description


@pytest.fixture(scope="session")
def parent(tmp_path_factory):
    """The folder of a small trained network, and its description."""
    folder = made_once(tmp_path_factory, "parent", lambda folder: write_parent(folder / "net")) / "net"
    return folder, read_description(folder)


@pytest.fixture(scope="session")
def accuracy_table(parent, tmp_path_factory):
    """The path of an accuracy table of the parent, made with stops."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            make_with_stops(plan_of(*parent), folder / "digits.json", patch)

    return made_once(tmp_path_factory, "accuracy_table", make) / "digits.json"
