"""A latency table, and the device that adds up latencies from it. Nothing is converted or timed.

A table is one JSON file:

* `version`: of this format, `VERSION`.
* `space`, `scale`: the name of the search space, and all of its scale that the latencies depend on.
* `device`: what the units were timed on, as `nas_tf.devices.Device.describe` returned it.
* `intercept_ms`: milliseconds to which those of a network's units are added.
* `units`: dict from the name of each unit of the space to the milliseconds that it adds.
* Any other keys are facts about how the table was made: timings, calibration, validation, sources.

`nas-table` makes tables. Shipped ones are in the folder `tables`, and are known by their names.
"""

import dataclasses
import functools
import json
import math
import pathlib

from nas_tf.devices import Estimator
from nas_tf.export import NUMBER_TYPES
from nas_tf.files import load_json, write_file
from nas_tf.settings import Settings, knob
from nas_tf.space import fingerprint
from nas_tf.trial import EvaluationError, UserError

VERSION = 1
SHIPPED = pathlib.Path(__file__).parent / "tables"
_KEYS = ("version", "space", "scale", "device", "intercept_ms", "units")


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """What the file of a latency table holds.

    Attributes:
        space: name of the search space.
        scale: dict of all of the scale that the latencies depend on.
        device: dict of what the units were timed on.
        intercept_ms: milliseconds to which those of a network's units are added.
        units: dict from the name of a unit to the milliseconds that it adds.
        facts: dict of everything else: timings, calibration, validation, sources.
    """

    space: str
    scale: dict
    device: dict
    intercept_ms: float
    units: dict
    facts: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path):
        """Returns the table in a file, or the shipped one of that name.

        Raises:
            UserError: there is no such table, it is damaged, or it is of another version.
        """
        path = _find(path)
        try:
            value = load_json(path)
        except (OSError, ValueError) as error:
            raise UserError(f"Expected a latency table. Received: {str(path)!r}: {error}") from error
        missing = [key for key in _KEYS if key not in value] if isinstance(value, dict) else _KEYS
        if missing:
            raise UserError(f"Expected a latency table. Received: {str(path)!r}, which lacks {', '.join(missing)}")
        if value["version"] != VERSION:
            raise UserError(
                f"Expected a latency table of version {VERSION}. Received: {str(path)!r} of version "
                f"{value['version']!r}. Make it again with nas-table"
            )
        for name in ("scale", "device", "units"):
            if not isinstance(value[name], dict):
                raise UserError(f"{path} is damaged: expected {name} to be an object")
        for name, ms in {"intercept_ms": value["intercept_ms"], **value["units"]}.items():
            if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not math.isfinite(ms):
                raise UserError(f"{path} is damaged: expected a finite number for {name!r}. Received: {ms!r}")
        facts = {key: each for key, each in value.items() if key not in _KEYS}
        if facts.get("number_type", "float32") not in NUMBER_TYPES:
            raise UserError(
                f"{path} is damaged: expected number_type, one of {', '.join(NUMBER_TYPES)}. Received: "
                f"{facts['number_type']!r}"
            )
        return cls(value["space"], value["scale"], value["device"], value["intercept_ms"], value["units"], facts)

    @property
    def number_type(self):
        """str: type of the TFLite files whose latencies these are."""
        return self.facts.get("number_type", "float32")

    def write(self, path):
        """Writes the table to a file, which `read` reads."""
        fields = {name: getattr(self, name) for name in _KEYS if name != "version"}
        write_file(path, json.dumps({"version": VERSION, **fields, **self.facts}, indent=1, allow_nan=False) + "\n")

    def check(self, space, latency_scale):
        """Raises `UserError` unless the table is for this search space at this scale.

        The makers of a table leave out of its scale what they believe its latencies not to depend on.

        Args:
            space: a `nas_tf.space.SearchSpace`.
            latency_scale: dict that `space.latency_scale` returned.
        """
        if self.space != space.name:
            raise UserError(f"Expected a latency table for space {space.name!r}. Received: one for {self.space!r}")
        if self.scale.get("style") != latency_scale.get("style"):
            ours, theirs = (each.get("style", "the default") for each in (latency_scale, self.scale))
            raise UserError(
                f"Expected a latency table of networks in the style {ours}, as their weights need it. Received: one "
                f"for {theirs}. Make one with nas-table --accuracy_table"
            )
        for name, value in self.scale.items():
            if latency_scale.get(name) != value:
                flag = "--num_classes" if name == "num_classes" else f"--deploy_{name}"
                raise UserError(
                    f"Expected a latency table for {name}={latency_scale.get(name)}, as networks ship here. Received: "
                    f"one for {name}={value}. Make one with nas-table {flag}={latency_scale.get(name)}"
                )


def _find(name):
    path = pathlib.Path(name)
    if path.name != str(name) or path.suffix:
        return path.expanduser()
    shipped = SHIPPED / f"{name}.json"
    if not shipped.is_file():
        known = ", ".join(sorted(each.stem for each in SHIPPED.glob("*.json")))
        raise UserError(f"Expected a table's file, or a shipped table: {known}. Received: {str(name)!r}")
    return shipped


class Composer:
    """Adds up latencies of a space's architectures at a scale, and remembers that of each group of units."""

    def __init__(self, table, space, scale):
        self._table, self._space, self._scale = table, space, scale
        self._groups = _Sums(self._group_ms)

    def latency_ms(self, architecture):
        """float: the architecture's latency in milliseconds.

        Raises:
            KeyError: the table lacks one of its units; the argument is the unit's name.
        """
        unit_groups = self._space.unit_groups(architecture, self._scale)
        return self._table.intercept_ms + sum(map(self._groups.__getitem__, unit_groups))

    def _group_ms(self, group):
        ms = self._table.units
        return sum(count * ms[unit.name] for unit, count in self._space.units(group, self._scale).items())


class _Sums(dict):
    """A dict that computes each value when it is first asked for."""

    def __init__(self, compute):
        super().__init__()
        self._compute = compute

    def __missing__(self, key):
        self[key] = value = self._compute(key)
        return value


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Which latency table is read."""

    file: str = knob(
        "",
        "Latency table: a file that nas-table made, or a shipped one: pixel1.",
        required="the file of a latency table, or the name of a shipped one",
        flag="table",
        path=True,
        decides=False,  # what it holds is part of the device
    )


def make(config, space, scale):
    """Returns the `TableEstimator` for a search space at a scale."""
    return TableEstimator(config, space, scale)


class TableEstimator(Estimator):
    """Latencies of a search space's architectures at one scale, from a table made for both."""

    answers_at_once = True

    def __init__(self, config, space, scale):
        self._config, self._space, self._scale = config, space, scale

    @functools.cached_property
    def _table(self):
        return LatencyTable.read(self._config.file)

    @functools.cached_property
    def _composer(self):
        return Composer(self._table, self._space, self._scale)

    def check(self):
        self._table.check(self._space, self._space.latency_scale(self._scale))
        missing = {unit.name for unit in self._space.all_units(self._scale)} - self._table.units.keys()
        if missing:
            raise UserError(
                f"{self._config.file} lacks {len(missing)} units of search space {self._space.name!r} as it is set "
                f"here, {min(missing)} among them. Make the table with the same --{self._space.name}_... settings"
            )

    def describe(self):
        table = self._table
        return {
            "device": "table",
            "made_on": table.device,
            "made_at": table.facts.get("made_at"),
            "table": fingerprint([table.space, table.scale, table.intercept_ms, table.units]),
        }

    @property
    def number_type(self):
        return self._table.number_type

    def knows(self, architecture):
        try:
            self._composer.latency_ms(architecture)
        except (KeyError, ValueError):
            return False
        return True

    def estimate(self, architectures):
        latencies = [self._composer.latency_ms(each) for each in architectures]
        for architecture, ms in zip(architectures, latencies):
            if not (math.isfinite(ms) and ms > 0):
                raise EvaluationError(f"The latency table predicts {ms} ms, which is no latency, for {architecture}")
        return latencies
