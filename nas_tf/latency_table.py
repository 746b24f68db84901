"""A latency table: what each building unit of a search space adds to a network's latency on one device, as JSON.

A network's latency is the table's intercept and the sum of its units' `ms`, each a fitted multiple of the unit's own
timing: in a network a unit finds its data elsewhere in the caches than alone. `nas_tf.table_builder` makes tables.
"""

import dataclasses
import json
import math
import pathlib

from nas_tf.files import write_file
from nas_tf.trial import UserError

VERSION = 1
SHIPPED = pathlib.Path(__file__).parent / "devices" / "tables"
_KEYS = ("version", "space", "scale", "device", "intercept_ms", "units")


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """A table as its file has it. `space` and `scale` say for what; `units` is dict of unit name to what it adds in
    milliseconds; `facts` holds all else: timings, calibration, validation, sources."""

    space: str
    scale: dict
    device: dict
    intercept_ms: float
    units: dict
    facts: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path):
        """The table in a file, or the shipped one of that name.

        Raises:
            UserError: there is none, it is damaged, or its version is another.
        """
        path = _find(path)
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"Expected a latency table. Received: {str(path)!r}: {error}") from error
        if not isinstance(value, dict) or any(key not in value for key in _KEYS):
            raise UserError(f"Expected a latency table with {', '.join(_KEYS)}. Received: {str(path)!r} without")
        if value["version"] != VERSION:
            raise UserError(f"Expected a latency table of version {VERSION}. Received: {str(path)!r} of version "
                            f"{value['version']!r}: make it anew with nas-table")  # fmt: skip
        for name in ("scale", "device", "units"):
            if not isinstance(value[name], dict):
                raise UserError(f"{path} is damaged: expected {name} to be an object")
        for name, ms in {"intercept_ms": value["intercept_ms"], **value["units"]}.items():
            if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not math.isfinite(ms):
                raise UserError(f"{path} is damaged: expected a finite number for {name!r}. Received: {ms!r}")
        facts = {key: each for key, each in value.items() if key not in _KEYS}
        return cls(value["space"], value["scale"], value["device"], value["intercept_ms"], value["units"], facts)

    def write(self, path):
        fields = {name: getattr(self, name) for name in ("space", "scale", "device", "intercept_ms", "units")}
        write_file(path, json.dumps({"version": VERSION, **fields, **self.facts}, indent=1) + "\n")

    def check(self, space, latency_scale):
        """Raises `UserError` unless the table is for this `nas_tf.space.SearchSpace` at this scale, a dict.

        What a table's scale leaves out, its latencies do not depend on, as far as its makers know.
        """
        if self.space != space.name:
            raise UserError(f"Expected a latency table for space {space.name!r}. Received: one for {self.space!r}")
        for name, value in self.scale.items():
            if latency_scale.get(name) != value:
                flag = "--num_classes" if name == "num_classes" else f"--deploy_{name}"
                raise UserError(
                    f"Expected a latency table for {name}={latency_scale.get(name)}, as networks ship here. Received: "
                    f"one for {name}={value}. Make one with nas-table {flag}={latency_scale.get(name)}"
                )


class Composer:
    """Latencies of architectures of a space at a scale, by a table; what was asked of a part is kept."""

    def __init__(self, table, space, scale):
        self._table, self._space, self._scale = table, space, scale
        self._parts = _Sums(self._part_ms)

    def latency_ms(self, architecture):
        """float: the architecture's latency in milliseconds.

        Raises:
            KeyError: the table lacks one of its units; the argument is the unit's name.
        """
        parts = self._space.parts(architecture, self._scale)
        return self._table.intercept_ms + sum(map(self._parts.__getitem__, parts))

    def _part_ms(self, part):
        ms = self._table.units
        return sum(count * ms[unit.name] for unit, count in self._space.units(part, self._scale).items())


class _Sums(dict):
    """A dict that computes what it is first asked for."""

    def __init__(self, compute):
        super().__init__()
        self._compute = compute

    def __missing__(self, key):
        self[key] = value = self._compute(key)
        return value


def _find(name):
    path = pathlib.Path(name)
    if path.name != str(name) or path.suffix:
        return path.expanduser()
    shipped = SHIPPED / f"{name}.json"
    if not shipped.is_file():
        known = ", ".join(sorted(each.stem for each in SHIPPED.glob("*.json")))
        raise UserError(f"Expected a table's file, or a shipped table: {known}. Received: {str(name)!r}")
    return shipped
