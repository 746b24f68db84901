"""Settings: bounds hold wherever an instance is made; what a folder was begun with is refused by name."""

import dataclasses
import json
import math

import pytest

from nas_tf import plugins, resume
from nas_tf.family import families
from nas_tf.settings import Settings, check, configure, knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Some(Settings):
    count: int = knob(1, least=1, most=9)
    share: float = knob(0.5, above=0, below=1)
    rate: float = knob(1.0, "Any finite number.")
    kind: str = knob("a", choices=("a", "b"))
    kinds: tuple[str, ...] = knob(("a",), choices=("a", "b"), required="at least one kind")
    folder: str = knob("here", required="a folder")
    limit: float | None = knob(None, above=0)
    seed: int = 0
    is_on: bool = knob(False)
    sizes: tuple[int, ...] = knob((1, 2))


@pytest.mark.parametrize(
    "setting,value,words",
    [
        ("count", 0, "Expected --count to be at least 1 and at most 9. Received: 0"),
        ("count", 10, "to be at least 1 and at most 9. Received: 10"),
        ("share", 0.0, "Expected --share to be above 0 and below 1. Received: 0.0"),
        ("share", 1.0, "to be above 0 and below 1. Received: 1.0"),
        ("rate", math.nan, "Expected --rate to be a finite number. Received: nan"),
        ("rate", -math.inf, "to be a finite number. Received: -inf"),
        ("limit", math.inf, "Expected --limit to be a finite number. Received: inf"),
        ("kind", "c", "Expected --kind to be one of a, b. Received: c"),
        ("kinds", ("a", "c"), "Expected --kinds to hold only a, b. Received: a, c"),
        ("kinds", (), "Expected --kinds, at least one kind. Received: none"),
        ("count", 2.0, "Expected --count to be a whole number. Received: 2.0"),
        ("share", "half", "Expected --share to be a number. Received: half"),
        ("folder", "", "Expected --folder, a folder. Received: none"),
        ("folder", None, "Expected --folder to be text. Received: None"),
        ("folder", {"a": 1}, "Expected --folder to be text. Received: {'a': 1}"),
        ("limit", True, "Expected --limit to be a number. Received: True"),
        ("seed", [1], "Expected --seed to be a number. Received: [1]"),
        ("seed", 1.5, "Expected --seed to be a whole number. Received: 1.5"),
        ("is_on", "false", "Expected --is_on to be true or false. Received: false"),
        ("is_on", 0, "Expected --is_on to be true or false. Received: 0"),
        ("sizes", 3, "Expected --sizes to be a list. Received: 3"),
        ("sizes", (1, "2"), "Expected --sizes to be a list, each a number. Received: 1, 2"),
        ("kind", ["a"], "Expected --kind to be text. Received: ['a']"),
    ],
)
def test_a_value_out_of_its_bounds(setting, value, words):
    with pytest.raises(UserError) as caught:
        Some(**{setting: value})
    assert words in str(caught.value)


def test_values_at_their_bounds_and_none():
    for count in (1, 9):
        assert Some(count=count, limit=None).limit is None


def every_config():
    for folder in ("algorithms", "datasets", "devices", "judges", "search.workers"):
        for name in plugins.names(f"nas_tf.{folder}"):
            yield plugins.load(f"nas_tf.{folder}", name).Config
    for family in families():
        yield from (family.search_settings, family.train_settings, type(family.objective), type(family.proxy))
        for name in plugins.names(family.space_folder):
            yield type(plugins.load(family.space_folder, name).SPACE)


@pytest.mark.parametrize("config", dict.fromkeys(every_config()), ids=lambda config: config.__name__)
def test_no_setting_takes_nan_or_infinity(config):
    """Every number of every setting, wherever it is declared, is refused where it is none."""
    given = {"run_dir": "x"} if "run_dir" in config.__dataclass_fields__ else {}
    given |= {"out_dir": "x"} if "out_dir" in config.__dataclass_fields__ else {}
    for field in dataclasses.fields(config):
        is_number = isinstance(field.default, (int, float)) and not isinstance(field.default, bool)
        if is_number or (field.default is None and "float" in str(field.type)):
            for value in (math.nan, math.inf, -math.inf):
                with pytest.raises(UserError, match=field.name):
                    config(**{**given, field.name: value})


def test_the_flag_of_a_part_follows_its_file():
    config = plugins.load("nas_tf.devices", "simulated").Config
    with pytest.raises(UserError, match=r"--simulated_overhead_ms to be"):
        config(overhead_ms=-1.0)


def test_a_part_of_ones_own_is_checked_too():
    @dataclasses.dataclass(frozen=True)
    class Plain:
        size: int = knob(3, least=1)

    with pytest.raises(UserError, match=r"--size to be at least 1\. Received: 0"):
        configure(Plain, {"size": 0}, "plain")
    with pytest.raises(UserError, match=r"'plain' has settings \['size'\]\. Received: 'colour'"):
        configure(Plain, {"colour": 1}, "plain")
    check(Plain())


def test_what_a_folder_was_begun_with(tmp_path):
    path = tmp_path / "run" / "asked.json"
    resume.begin(path, {"seed": 0, "types": ("a", "b"), "name": "x"})
    resume.begin(path, {"seed": 0, "types": ["a", "b"], "name": "y"}, may_change=("name",))
    assert json.loads(path.read_text())["name"] == "y"
    with pytest.raises(UserError) as caught:
        resume.begin(path, {"seed": 1, "types": ["a"], "name": "y"}, instead="choose another --out_dir")
    assert str(caught.value) == (
        f'{tmp_path / "run"} was begun with other settings: seed=1 (was 0); types=["a"] (was ["a", "b"]). '
        "Give those again, or choose another --out_dir"
    )
    assert json.loads(path.read_text())["seed"] == 0


def test_recipes_say_where_they_are_from_and_what_they_take():
    for family in families():
        for name, plan in family.plans.items():
            for text in (plan.about, plan.source, plan.command, plan.hours):
                assert text, (family.space_folder, name)
        assert "never run to the end" in family.plans["imagenet"].hours
