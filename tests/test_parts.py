"""A part is a file: one that is dropped into its folder is found, offered as a flag's choice, and works in a search."""

import importlib
import json
import pathlib
import sqlite3
import sys
import textwrap

import pytest
import toy_networks

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings, search
from nas_tf import flags, plugins
from nas_tf.rewards import Objective
from nas_tf.search.request import ALGORITHMS, DATASETS, DEVICES, JUDGES, WORKERS
from nas_tf.training.recipe import ProxyRecipe

# A judge that keeps a file and trains nothing: the accuracy of an architecture is made of its tokens.
JUDGE = """
    import dataclasses

    from nas_tf import resume
    from nas_tf.judges import Judge
    from nas_tf.settings import Settings, knob
    from nas_tf.training.train import Trained

    @dataclasses.dataclass(frozen=True)
    class Config(Settings):
        worth: float = knob(0.1, "What a token is worth.", above=0)

    def make(config, task):
        return Toy(config, task)

    class Toy(Judge):
        def __init__(self, config, task):
            self._config, self._task, self._base = config, task, None

        def check(self):
            pass

        def describe(self):
            return {"judge": "dropped", "worth": self._config.worth}

        def prepare(self, folder):
            resume.begin(folder / "asked.json", self.describe())
            path = folder / "base.txt"
            if not path.exists():
                path.write_text("0.25")
                with open(folder.parent / "made.txt", "a") as file:
                    file.write("made ")
            self._base = float(path.read_text())

        def accuracy(self, tokens, max_steps=None):
            return Trained(self._base + self._config.worth * sum(tokens) / 10, 0.5, 0.1, 0.01, 4)
"""
ALGORITHM = """
    import dataclasses

    from nas_tf.algorithms import Algorithm
    from nas_tf.settings import Settings, knob
    from nas_tf.trial import Suggestion

    @dataclasses.dataclass(frozen=True)
    class Config(Settings):
        first: int = knob(0, "Number to count from.", least=0)

    def make(config, num_choices, seed):
        return Counting(config, num_choices)

    class Counting(Algorithm):
        batch_size = 2

        def __init__(self, config, num_choices):
            self._next, self._num_choices = config.first, num_choices

        def suggest(self, count):
            numbers = range(self._next, self._next + count)
            self._next += count
            return [Suggestion(tuple(n // 3**i % c for i, c in enumerate(self._num_choices))) for n in numbers]

        def update(self, trials):
            pass
"""
WORKERS_PLACE = """
    import dataclasses

    from nas_tf.search.workers import inline

    @dataclasses.dataclass(frozen=True)
    class Config:
        pass

    def make(config, setup, *, num_workers, max_memory_mb, log_path):
        workers = inline.make(inline.Config(), setup)
        workers.num_workers = 7
        return workers
"""


@pytest.fixture
def drop(tmp_path, monkeypatch):
    """`drop(folder, text or path)` puts a part called `dropped` into a plug-in folder until the test ends."""

    def into(folder, source):
        place = tmp_path / folder
        place.mkdir()
        text = source.read_text() if isinstance(source, pathlib.Path) else textwrap.dedent(source)
        (place / "dropped.py").write_text(text)
        package = importlib.import_module(folder)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
        monkeypatch.delitem(sys.modules, f"{folder}.dropped", raising=False)

    return into


def trials(run_dir):
    db = sqlite3.connect(run_dir / "trials.sqlite")
    rows = db.execute("SELECT tokens, accuracy, state FROM trials ORDER BY id").fetchall()
    judges = db.execute("SELECT DISTINCT judge FROM measurements WHERE kind = 'accuracy'").fetchall()
    db.close()
    return rows, judges


def run(tmp_path, plain_space, parts=None, **chosen):
    settings = {
        "run_dir": str(tmp_path / "run"),
        "search_space": str(plain_space),
        "algorithm": "random_search",
        "device": "simulated",
        "num_trials": 2,
        "workers": "inline",
        "proxy_image_size": 8,
        "proxy_samples": 50,
        "deploy_image_size": 16,
        "final_epochs": 0,
        **chosen,
    }
    said = []
    search(Settings(**settings), Objective(target_latency_ms=1.0), proxy=ProxyRecipe(1), parts=parts, say=said.append)
    return "\n".join(said)


@pytest.fixture
def defined(monkeypatch):
    """dict of the flags that are defined in the test to their help."""
    found = {}

    class Absl:
        def __getattr__(self, name):
            return lambda flag, default, *rest: found.update({flag: rest[-1]})

    monkeypatch.setattr(flags, "absl_flags", Absl())
    return found


@pytest.mark.parametrize(
    "folder,setting,source",
    [
        (JUDGES, "judge", JUDGE),
        (DEVICES, "device", pathlib.Path(toy_networks.DEVICE)),
        (DATASETS, "dataset", pathlib.Path(toy_networks.DATASET)),
        (ALGORITHMS, "algorithm", ALGORITHM),
        (WORKERS, "workers", WORKERS_PLACE),
        ("mnas_tf.spaces", "search_space", None),
    ],
)
def test_a_dropped_file_is_a_part(folder, setting, source, drop, tmp_path, plain_space):
    drop(folder, source or plain_space)
    assert "dropped" in plugins.names(folder)
    parts = {"dropped": {"log": str(tmp_path / "log")}} if setting == "device" else None
    said = run(tmp_path, plain_space, parts, **{setting: "dropped"})
    rows, judges = trials(tmp_path / "run")
    assert [state for _, _, state in rows] == ["done", "done"]
    assert judges == [("dropped" if setting == "judge" else "proxy",)]
    if setting == "workers":
        assert "on 7 workers" in said


def test_the_flags_of_a_dropped_file(drop, defined):
    drop(JUDGES, JUDGE)
    flags.define(FAMILY.search_settings)
    flags.define_parts(JUDGES)
    assert "One of: dropped, proxy" in defined["judge"]
    assert defined["dropped_worth"] == "What a token is worth."


def test_what_a_judge_keeps_is_part_of_the_run(drop, tmp_path, plain_space):
    """Made once, found by a resumed run, and refused once it has changed."""
    drop(JUDGES, JUDGE)
    run(tmp_path, plain_space, judge="dropped", algorithm="random_search")
    run(tmp_path, plain_space, judge="dropped", algorithm="random_search", num_trials=3)
    rows, _ = trials(tmp_path / "run")
    assert (tmp_path / "run" / "made.txt").read_text() == "made "
    for tokens, accuracy, _ in rows:
        assert accuracy == pytest.approx(0.25 + 0.1 * sum(json.loads(tokens)) / 10)
    with pytest.raises(ValueError, match=r"begun with other settings: .*judge worth=0\.2 \(was 0\.1\)"):
        run(tmp_path, plain_space, {"dropped": {"worth": 0.2}}, judge="dropped", num_trials=3)
    with pytest.raises(ValueError, match=r"begun with other settings: --judge=proxy \(was dropped\)"):
        run(tmp_path, plain_space, judge="proxy", num_trials=3)
    (tmp_path / "run" / "judge" / "base.txt").write_text("0.5")
    with pytest.raises(ValueError, match=r"judge was begun with other settings: base\.txt="):
        run(tmp_path, plain_space, judge="dropped", num_trials=4)
