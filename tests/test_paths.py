"""`~` in front of a path means the user's home folder: in every setting of every command, by a flag or from Python."""

import dataclasses
import pathlib
import re
import typing

import pytest
from spying import commands, every_setting
from support import assert_one_line, script

from nas_tf import plugins
from nas_tf.plugins import Part
from nas_tf.search.run_folder import RunFolder
from nas_tf.settings import Settings, configure, is_path, knob

# What makes an instance of a command's settings, whatever else it has.
GIVEN = {
    "run_dir": "run",
    "out_dir": "out",
    "out": "out.json",
    "dataset": "tfds",
    "file": "pixel1",
    "draw": True,
}
# What a setting is called or described as that holds a path.
LIKE_A_PATH = re.compile(
    r"_dir$|^out$|warm_start|weights|binary|python$|[Ff]older to|[Ff]older of|[Ff]ile of|\.py file"
)


def paths():
    for spied in every_setting():
        if {"path", "program", "folder"} & spied.field.metadata.keys():
            yield pytest.param(spied, id=f"{spied.command}-{spied.config.__name__}-{spied.field.name}")


def test_every_command_is_asked():
    assert len(commands()) >= 9
    assert {spied.command for spied in every_setting()} == set(commands())


@pytest.mark.parametrize("spied", paths())
def test_a_path_has_no_tilde(spied, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/mine")
    name = spied.field.name
    end = ".py" if "folder" in spied.field.metadata else ".json"
    known = {field.name for field in dataclasses.fields(spied.config)}
    given = {each: value for each, value in GIVEN.items() if each in known}
    for value in (f"~/mine{end}", pathlib.Path(f"~/mine{end}")):
        settings = configure(spied.config, {**given, name: value}, "settings")
        assert getattr(settings, name) == f"/home/of/mine/mine{end}"


def test_what_looks_like_a_path_is_declared_as_one():
    for spied in every_setting():
        field = spied.field
        hint = typing.get_type_hints(spied.config)[field.name]
        if (
            hint is str
            and "choices" not in field.metadata
            and (LIKE_A_PATH.search(field.name) or LIKE_A_PATH.search(field.metadata.get("help", "")))
        ):
            assert {"path", "program", "folder"} & field.metadata.keys(), (spied.command, field.name)


def test_only_paths_are_expanded(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Some(Settings):
        name: str = knob("~/name")
        place: str = knob("~/place", path=True)
        device: str = knob("~", folder="nas_tf.devices")
        tables: tuple[str, ...] = knob(("~/a", "b"), path=True)
        names: tuple[str, ...] = knob(("~/a", "b"))

    monkeypatch.setenv("HOME", "/home/of/mine")
    some = Some()
    assert (some.name, some.place, some.device) == ("~/name", "/home/of/mine/place", "~")
    assert (some.tables, some.names) == (("/home/of/mine/a", "b"), ("~/a", "b"))
    assert not any(is_path(dataclasses.fields(Some)[0], value) for value in (None, 3, "~/x.py"))


def test_a_part_of_ones_own_need_not_extend_settings(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Plain:
        log: str = knob("", path=True)

    monkeypatch.setenv("HOME", "/home/of/mine")
    assert configure(Plain, {"log": "~/log"}, "plain").log == "/home/of/mine/log"


def test_the_names_of_parts_and_of_their_settings(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert Part("nas_tf.devices", "~/mine.py").name == "/home/of/mine/mine.py"
    assert plugins.expand_all({"~/mine.py": {"a": 1}, "ppo": {}}) == {"/home/of/mine/mine.py": {"a": 1}, "ppo": {}}
    assert plugins.expand_all(None) == {}
    assert RunFolder("~/run").path == pathlib.Path("/home/of/mine/run")


@pytest.mark.real
def test_a_search_at_home(tmp_path, plain_space):
    """Everything that a search reads and writes lies in the home folder, and no folder is called `~`."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "mine.py").write_text(plain_space.read_text())
    command = (
        "mnas-search",
        "--run_dir=~/run",
        "--search_space=~/mine.py",
        "--device=simulated",
        "--algorithm=random_search",
        "--num_trials=1",
        "--proxy_epochs=1",
        "--proxy_image_size=8",
        "--proxy_samples=50",
        "--deploy_image_size=16",
        "--target_latency_ms=1",
        "--final_epochs=0",
        "--workers=inline",
    )
    process = script(*command, cwd=work, env={"HOME": str(home)})
    assert process.returncode == 0, process.stderr[-3000:]
    assert (home / "run" / "trials.sqlite").exists() and not list(work.iterdir())
    # Spelled out by the shell or not, it is the same run.
    spelled = [flag.replace("~", str(home)) for flag in command]
    process = script(*spelled, cwd=work, env={"HOME": str(home)})
    assert process.returncode == 0, process.stderr[-3000:]
    assert_one_line(script("nas-ship", "~/none", cwd=work, env={"HOME": str(home)}), 2, str(home / "none"))
    assert_one_line(
        script("nas-phone", "measure", "~/none.tflite", cwd=work, env={"HOME": str(home)}), 2, str(home / "none.tflite")
    )
    assert not list(work.iterdir())
