"""--help: every flag once, in groups by subject, those of a visit first and those of parts last."""

import dataclasses
import importlib.metadata
import re
import subprocess
import sys

import pytest
from spying import commands, every_setting
from support import script

from nas_tf import flags, plugins
from nas_tf.family import families
from nas_tf.settings import VISIT

pytestmark = pytest.mark.real
SCRIPTS = {
    "nas_tf.apps.detect": "nas-detect",
    "nas_tf.apps.make": "nas-make",
    "nas_tf.apps.phone": "nas-phone",
    "nas_tf.apps.predict": "nas-predict",
    "nas_tf.apps.report": "nas-report",
    "nas_tf.apps.ship": "nas-ship",
    "nas_tf.apps.table": "nas-table",
    "nas_tf.apps.trials": "nas-trials",
}
WITHOUT_PARTS = ("phone", "predict", "report", "trials")  # commands that choose no part
MODULES = commands()
FOLDERS = {spied.field.metadata["folder"] for spied in every_setting() if "folder" in spied.field.metadata}
LISTED = r"^  --(?:\[no\])?(\w+): "
# What a visitor needs, in this order.
COMMON = {
    "search": ["dataset", "data_dir", "target_latency_ms", "device", "run_dir", "num_trials", "max_hours"],
    "make": ["data_dir", "target_latency_ms", "device", "hours", "preset", "search", "out_dir"],
    "train": ["dataset", "data_dir", "architecture", "out_dir"],
    "export": ["dataset", "data_dir", "network_dir", "device"],
    "ship": ["data_dir", "device", "top_k"],
    "detect": ["data_dir", "architecture", "parent", "device", "out_dir"],
    "predict": ["top_k", "format"],
    "report": ["out", "search_space"],
    "trials": ["state", "sort", "limit", "format"],
    "table": ["search_space", "device", "out"],
    "phone": ["dataset", "out_dir"],
}


@pytest.fixture(scope="module")
def helps():
    """dict from a command's module to its --help."""
    found = {}
    for module in MODULES:
        process = script(SCRIPTS.get(module, module.replace("_tf.", "-")), "--help")
        assert process.returncode == 0 and process.stderr == ""
        found[module] = process.stdout
    return found


def test_every_command_says_its_version():
    version = importlib.metadata.version("mobile-nas-tf")
    for module in MODULES:
        name = SCRIPTS.get(module, module.replace("_tf.", "-"))
        process = script(name, "--version")
        assert (process.returncode, process.stdout) == (0, f"{name} of mobile-nas-tf {version}\n")


@pytest.mark.parametrize("module", MODULES)
def test_every_flag_appears_once(module, helps):
    listed = re.findall(LISTED, helps[module], flags=re.MULTILINE)
    assert sorted(listed) == sorted(spied.flag for spied in every_setting() if spied.command == module)


@pytest.mark.parametrize("module", MODULES)
def test_the_common_ones_come_first(module, helps):
    text = helps[module]
    places = [text.index(f"\n  --{flag}: ") for flag in COMMON[module.rpartition(".")[2]]]
    assert places == sorted(places)
    titles = [line for line in text.splitlines() if line in VISIT]
    assert titles == [title for title in VISIT if title in titles] and titles
    first_part = re.search(r"^--\w+=\w+: ", text, flags=re.MULTILINE)
    if first_part:
        assert places[-1] < first_part.start()
        of_parts = {
            spied.flag
            for spied in every_setting()
            if spied.command == module and spied.config.__module__.rpartition(".")[0] in FOLDERS
        }
        assert set(re.findall(LISTED, text[first_part.start() :], flags=re.MULTILINE)) == of_parts


@pytest.mark.parametrize("module", [each for each in MODULES if not each.endswith(WITHOUT_PARTS)])
def test_every_part_has_its_title(module, helps):
    words = " ".join(helps[module].split())
    choosers = {
        (spied.flag, spied.field.metadata["folder"])
        for spied in every_setting()
        if spied.command == module and "folder" in spied.field.metadata
    }
    if module.endswith("table"):
        choosers |= {("search_space", family.space_folder) for family in families()}
    assert choosers
    for flag, folder in choosers:
        for name in plugins.names(folder):
            said = plugins.load(folder, name).__doc__.split("\n")[0].split(". ")[0].rstrip(".")
            assert f"--{flag}={name}: {said}" in words


def test_a_part_with_and_without_a_docstring():
    class Documented:
        """One sentence, of
        two lines. Another.

        More.
        """

    class Silent:
        __doc__ = None

    assert flags._first_sentence(Documented) == "One sentence, of two lines"
    assert flags._first_sentence(Silent) == flags._first_sentence(dataclasses.make_dataclass("Made", ["x"])) == ""


def test_a_reader_who_has_seen_enough():
    command = f"{sys.executable} -m nas_tf.apps.ship --help | head -1; exit ${{PIPESTATUS[0]}}"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert process.returncode == 0 and process.stderr == "" and process.stdout.startswith("Trains a search's best")
