"""A part that does not exist, or no part at all: one line that names the choices, in every command."""

import dataclasses
import json

import pytest
from spying import every_setting
from support import assert_one_line, script

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings
from nas_tf import plugins
from nas_tf.search.request import folders, make_request, remade_request
from nas_tf.shipping.chain import ship
from nas_tf.shipping.settings import ShipSettings
from nas_tf.trial import UserError
from nasnet_tf.family import FAMILY as NASNET
from nasnet_tf.search import Settings as NasnetSettings

# What a command needs beside the setting in question, which is looked at first.
NEEDED = {"run_dir": "--run_dir=run", "out_dir": "--out_dir=out", "out": "--out=out.json"}
BAD = ("none", "nothing", "a/b", "DIGITS", "nothing.py", ".", "mnasnet.py/")


def choosers():
    """Each command and each of its settings that choose a part, once."""
    found = {}
    for spied in every_setting():
        if "folder" in spied.field.metadata:
            found.setdefault((spied.command, spied.field.name), spied)
    for (command, name), spied in found.items():
        yield pytest.param(spied, id=f"{command}-{name}")


def flags_of(spied):
    if spied.command == "nas_tf.apps.make":
        return []
    given = [flag for name, flag in NEEDED.items() if name in spied.config.__dataclass_fields__]
    return [*given, *(["setup"] if spied.command == "nas_tf.apps.phone" else [])] + (
        ["run"] if spied.command == "nas_tf.apps.ship" else []
    )


def console_script(module):
    if module.startswith("nas_tf.apps."):
        return f"nas-{module.rpartition('.')[2]}"
    return module.replace("_tf.", "-")


@pytest.mark.real
@pytest.mark.parametrize("spied", choosers())
def test_one_line_names_the_choices(spied, tmp_path):
    field, name = spied.field, spied.field.name
    values = BAD if spied.command == "mnas_tf.search" else ("none", "nothing.py")
    for value in (*values, ""):
        if value in field.metadata.get("also", ()) or value == field.default:
            continue
        process = script(console_script(spied.command), *flags_of(spied), f"--{name}={value}", cwd=tmp_path)
        if value.endswith(".py"):
            assert_one_line(process, 2, f"There is no file '{tmp_path / value}'")
        else:
            known = ", ".join(plugins.names(field.metadata["folder"]))
            assert_one_line(process, 2, f"Expected --{name} to be one of {known}", f"Received: {value!r}")
    assert not list(tmp_path.iterdir())


@pytest.mark.real
def test_settings_that_only_name_a_file_of_ones_own(tmp_path):
    assert_one_line(script("nas-table", "--out=x.json", "--search_space=none", cwd=tmp_path), 2, "mnasnet", "'none'")
    (tmp_path / "architecture.json").write_text("{}")
    process = script("mnas-export", f"--network_dir={tmp_path}", "--search_space=none")
    assert_one_line(
        process, 2, "Expected --search_space to be one of mnasnet, proxylessnas, nasbench201, nasnet", "'none'"
    )


def test_only_a_device_may_be_none():
    settings = Settings(run_dir="run", device="none")
    assert "nas_tf.devices" not in folders(FAMILY, settings)
    for name in ("dataset", "algorithm", "search_space", "judge", "workers"):
        with pytest.raises(UserError, match=r"Received: 'none'"):
            request = make_request(FAMILY, dataclasses.replace(settings, **{name: "none"}))
            request.flags()


def test_the_help_says_which_settings_may_be_none():
    may_be_none = {
        (spied.command, spied.field.name) for spied in every_setting() if "none" in spied.field.metadata.get("also", ())
    }
    searches = {(f"{family}.search", "device") for family in ("mnas_tf", "nasnet_tf")}
    exports = {(f"{family}.export", "device") for family in ("mnas_tf", "nasnet_tf")}
    assert may_be_none == searches | exports | {("nas_tf.apps.make", "device"), ("nas_tf.apps.detect", "device")}


def test_shipping_takes_no_other_part_than_the_runs(tmp_path):
    flags = {"dataset": "digits", "search_space": "mnasnet"}
    (tmp_path / "config.json").write_text(json.dumps({"flags": flags, "device": {}, "space": {}}))
    for setting, theirs in flags.items():
        for other in ("none", "tfds", "mine.py"):
            with pytest.raises(
                UserError, match=f"Expected --{setting} only for .* names '{theirs}'. Received: '{other}'"
            ):
                ship(tmp_path, ShipSettings(**{setting: other}))
        with pytest.raises(UserError, match="describes no search space"):  # the next thing that is wrong with this run
            ship(tmp_path, ShipSettings(**{setting: theirs}))


def test_a_judge_and_a_device_of_one_name_have_their_own_settings(cell_table, tmp_path):
    settings = NasnetSettings(
        run_dir=str(tmp_path), search_space="nasbench201", judge="tabular", device="tabular", algorithm="auto"
    )
    given = {"nasbench201": {"table": str(cell_table)}, "tabular": {"noise_percent": 1.0}}
    request = make_request(NASNET, settings, parts=given)
    assert request.setup.judge.settings == {"noise_percent": 1.0} and request.setup.device.settings == {}
    assert request.flags()["tabular_noise_percent"] == 1.0 and request.settings.algorithm == "predictor"
    again = remade_request(NASNET, request.flags(), "config.json", {})
    assert again.setup.judge == request.setup.judge and again.setup.device == request.setup.device
    with pytest.raises(UserError, match="noise"):
        make_request(NASNET, settings, parts={**given, "tabular": {"noise": 1.0}}).setup.make_judge()
