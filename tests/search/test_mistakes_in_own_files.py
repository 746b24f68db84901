"""A mistake in a file of the user's own: one line that has its file and line, and the whole trace in workers.log."""

import contextlib
import re

import pytest
from support import assert_one_line, script
from toy_networks import PARTS

from nas_tf import plugins
from nas_tf.latency_tables import builder
from nas_tf.recycling import Processes
from nas_tf.trial import OwnFileError, UserError

SMALL = (
    "--algorithm=random_search",
    "--proxy_epochs=1",
    "--proxy_image_size=8",
    "--proxy_samples=50",
    "--deploy_image_size=16",
    "--target_latency_ms=1",
    "--final_epochs=0",
    "--num_trials=3",
)
SOURCES = {
    "dataset": PARTS / "toy_dataset.py",
    "device": PARTS / "toy_device.py",
    "judge": PARTS / "toy_judge.py",
    "algorithm": PARTS / "toy_algorithm.py",
    "workers": PARTS / "toy_workers.py",
}
FOLDERS = {name: f"nas_tf.{name}s" for name in ("dataset", "device", "judge", "algorithm")} | {
    "workers": "nas_tf.search.workers",
    "search_space": "mnas_tf.spaces",
}


@pytest.fixture
def mine(tmp_path, plain_space):
    """`mine(setting, place, text)` writes a part of one's own with `text` in front of the line that begins with
    `place`, and returns its path and the number of that line. Without a `place`, `text` is all of it."""

    def write(setting, place, text):
        path = tmp_path / "mine.py"
        if place is None:
            path.write_text(text)
            return path, 1
        lines = (plain_space if setting == "search_space" else SOURCES[setting]).read_text().splitlines()
        number = next(i for i, line in enumerate(lines) if line.lstrip().startswith(place))
        indent = " " * (len(lines[number]) - len(lines[number].lstrip()))
        path.write_text("\n".join([*lines[:number], *(indent + each for each in text.splitlines()), *lines[number:]]))
        return path, number + 1

    return write


def search(tmp_path, *flags):
    return script("mnas-search", f"--run_dir={tmp_path / 'run'}", "--device=simulated", *SMALL, *flags)


@pytest.mark.parametrize("setting", FOLDERS)
@pytest.mark.parametrize(
    "text,words",
    [
        ("foo = bar", "line 1: NameError: name 'bar' is not defined"),
        ("\nimport no_such_package", "line 2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1\ndef f(:\n    pass", "line 2: SyntaxError: invalid syntax"),
        ("def f():\n    raise SystemExit(3)\nf()", "line 2: SystemExit: 3"),
        ("import json\njson.loads('{')", "line 2: JSONDecodeError: "),
    ],
)
def test_an_error_at_its_import(setting, text, words, mine):
    path, _ = mine(setting, None, text)
    with pytest.raises(UserError) as caught:
        plugins.load(FOLDERS[setting], str(path))
    assert str(caught.value).startswith(f"mine.py, {words}") and "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("setting", FOLDERS)
def test_what_a_part_lacks(setting, mine):
    needed, wrong = ("SPACE", "Scale"), "instance of a frozen dataclass"
    if setting != "search_space":
        needed, wrong = ("Config", "make"), "a frozen dataclass"
    path, _ = mine(setting, None, "x = 1")
    with pytest.raises(UserError, match=f"mine.py to have {' and '.join(needed)}, .* lacks {' and '.join(needed)}$"):
        plugins.load(FOLDERS[setting], str(path))
    path.write_text(f"{needed[0]} = {needed[1]} = dict")
    plugins.sys.modules.pop("nas_tf_user_mine")
    with pytest.raises(UserError, match=f"Expected {needed[0]} of .*mine.py to be .*{wrong}"):
        plugins.load(FOLDERS[setting], str(path))


def test_a_file_that_is_imported_and_does_not_parse(mine, tmp_path, monkeypatch):
    (tmp_path / "my_helper.py").write_text("x = 1\ny = = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path, _ = mine("device", None, "import my_helper")
    with pytest.raises(UserError, match=r"^my_helper.py, line 2: SyntaxError: invalid syntax$"):
        plugins.load(FOLDERS["device"], str(path))


def test_the_deepest_line_of_its_own():
    names = {"__name__": "nas_tf_user_mine"}
    exec(compile("\n\ndef outer(f):\n    f()", "/home/me/mine.py", "exec"), names)
    with pytest.raises(ZeroDivisionError) as caught:
        names["outer"](lambda: 1 / 0)
    assert plugins.own_line(caught.value) == "mine.py, line 4: ZeroDivisionError: division by zero"
    assert plugins.described(caught.value) == plugins.own_line(caught.value)
    assert plugins.own_line(ValueError("x")) is None and plugins.described(ValueError("x")) == "x"


def test_what_is_meant_stays_what_it_is(tmp_path):
    for meant in (UserError("x"), OwnFileError("x")):
        with pytest.raises(type(meant), match=r"^x$"), plugins.mistakes_told(tmp_path / "log"):
            raise meant
    with pytest.raises(KeyError), plugins.mistakes_told(tmp_path / "log"):
        raise KeyError("of the project's own")
    assert not (tmp_path / "log").exists()


@pytest.mark.real
@pytest.mark.parametrize(
    "workers,setting,place",
    [
        ("process", "search_space", "x = inputs"),
        ("inline", "search_space", "x = inputs"),
        ("inline", "judge", "return Trained"),
        ("inline", "device", "name = pathlib"),
        ("inline", "dataset", "count, seed"),
    ],
)
def test_a_mistake_in_a_worker(workers, setting, place, mine, tmp_path, plain_space):
    path, number = mine(setting, place, "missing()")
    own = "" if setting == "search_space" else f"--search_space={plain_space}"
    process = search(tmp_path, f"--{setting}={path}", f"--workers={workers}", "--num_workers=1", *filter(None, [own]))
    words = f"mine.py, line {number}: NameError: name 'missing' is not defined"
    assert_one_line(process, 2, words, "the whole trace is in workers.log")
    log = (tmp_path / "run" / "workers.log").read_text()
    assert "Traceback (most recent call last)" in log and re.search(rf'mine.py", line {number}, in \w+', log)


@pytest.mark.real
@pytest.mark.parametrize(
    "setting,place,text",
    [
        ("search_space", "return PlainNet(**self", "[][0]"),
        ("algorithm", "numbers = ", "[][0]"),
        ("judge", 'return {"judge"', "[][0]"),
        ("dataset", "self._config", "[][0]"),
    ],
)
def test_a_mistake_in_the_commands_own_process(setting, place, text, mine, tmp_path, plain_space):
    path, number = mine(setting, place, text)
    own = [] if setting == "search_space" else [f"--search_space={plain_space}"]
    process = search(tmp_path, f"--{setting}={path}", "--workers=inline", *own)
    assert_one_line(process, 2, f"mine.py, line {number}: IndexError: list index out of range")


@pytest.mark.real
def test_other_commands_say_the_line_too(mine, tmp_path):
    path, number = mine("search_space", "x = inputs", "missing()")
    command = ("mnas-train", f"--search_space={path}", f"--out_dir={tmp_path / 'out'}", "--image_size=16")
    (tmp_path / "net.json").write_text('{"filters": 8, "kernel_size": 3, "depth": 1}')
    process = script(*command, f"--architecture={tmp_path / 'net.json'}")
    assert_one_line(process, 2, f"mine.py, line {number}: NameError: name 'missing' is not defined")


@pytest.mark.real
def test_mistakes_in_mid_run_end_it_with_their_line(mine, tmp_path):
    """Three trials in a row: what some architectures meet is not worth a whole search."""
    path, number = mine("search_space", "x = inputs", "if scale.image_size == 8 and Counted(): missing()")
    text = path.read_text().replace(
        "SPACE = ", "def Counted(n=[0]):\n    n[0] += 1\n    return n[0] > 2\n\n\nSPACE = ", 1
    )
    path.write_text(text)
    process = search(tmp_path, f"--search_space={path}", "--workers=inline", "--num_trials=9", "--seed=3")
    assert_one_line(process, 2, f"mine.py, line {number}: NameError", "3 trials in a row", "another --run_dir")
    (page,) = tmp_path.rglob("report.html")
    assert "NameError" in page.read_text()


def test_a_mistake_met_in_making_a_table(mine, tmp_path):
    """What converts is another process, to which the error goes without its traceback."""
    path, number = mine("search_space", "x = inputs", "missing()")
    part = plugins.Part(FOLDERS["search_space"], str(path))
    scale = part.module.Scale(image_size=8, num_classes=2)
    architecture = (part, scale, "network", (0, 0, 0), tmp_path / "none.tflite")
    with contextlib.closing(Processes()) as processes:
        with pytest.raises(OwnFileError, match=rf"^mine.py, line {number}: NameError: name 'missing' is not defined$"):
            processes.call(builder._convert_one, *architecture)


@pytest.mark.real
def test_an_architecture_that_cannot_be_built_says_where(mine, tmp_path):
    path, number = mine("search_space", "x = inputs", "raise ValueError('too small')")
    process = search(tmp_path, f"--search_space={path}", "--workers=inline")
    assert f"mine.py, line {number}: ValueError: too small" in process.stdout, process.stderr[-2000:]
