"""What a trained network is, and the files that ship of it: plain data, JSON both ways."""

import dataclasses
import json

from nas_tf.accuracy import num_examples_of, standard_error
from nas_tf.trial import Latency, UserError, first_line

INPUT = "float32 RGB in [-1, 1]: pixel / 127.5 - 1"
# Keys that are derived from others, or that earlier versions wrote: nothing reads them.
_UNREAD_KEYS = frozenset(("standard_errors", "recorded", "reward"))


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """Accuracies of one network, each in [0, 1]. One is None if no image of its split was read.

    `proxy` is that of the small copy that a search trained, on validation images, `race` that on the images by which
    it was chosen to ship.
    """

    validation: float | None = None
    test: float | None = None
    proxy: float | None = None
    race: float | None = None


UNTRAINED = "untrained (initial weights)"


@dataclasses.dataclass(frozen=True)
class NetworkDescription:
    """What a trained network is and how it came to be: what `architecture.json` holds.

    Attributes:
        text: the architecture in one line.
        scale: the family's `Scale` as a dict: image size in pixels, classes, width and so on.
        class_names: in the order of the network's outputs.
        dataset: `nas_tf.datasets.Dataset.facts()` of the images it was trained on.
        input: what the network takes.
        space, architecture, fingerprint: `Part.to_json()` of its search space, its `to_json()` there and its
            fingerprint; None for a network of no search space.
        weights: where the weights come from, in words.
        recipe, machine: how and on what it was trained, as dicts; None for an untrained network.
        accuracy: its `Accuracies`.
        history: a dict for each epoch (`nas_tf.training.train.Trained`).
        data: what the same images can be had from again (`nas_tf.datasets.Source.to_json`).
        num_params, mult_adds: trainable parameters, and multiply-adds of one image.
        latency: of its float32 file, or of the file that its search timed; None if it was not timed.
        latency_judged: of the type of file that its search timed, if `latency` is of another.
        tflite_number_type: type of `model.tflite`.
        trial: the trial of a search that it comes from.
        choice: in words, why it was chosen among others.
        width: width multiplier of a published network of equal latency.
        failure: why its training failed; None if it did not.
        asked: what the maker of its folder was asked for, if other requests make the folder again.
        files: dict from the name of each file of its folder to its SHA-256, which shows damage; None: not known.
    """

    text: str
    scale: dict
    class_names: tuple[str, ...]
    dataset: dict
    input: str = INPUT
    space: dict | None = None
    architecture: object | None = None
    fingerprint: str | None = None
    weights: str = UNTRAINED
    recipe: dict | None = None
    machine: dict | None = None
    accuracy: Accuracies = dataclasses.field(default_factory=Accuracies)
    history: tuple[dict, ...] = ()
    data: dict | None = None
    num_params: int | None = None
    mult_adds: int | None = None
    latency: Latency | None = None
    latency_judged: Latency | None = None
    tflite_number_type: str | None = None
    trial: int | None = None
    choice: str | None = None
    width: float | None = None
    failure: str | None = None
    asked: dict | None = None
    files: dict[str, str] | None = None

    def to_json(self):
        """Returns a JSON-ready dict without what is None, with standard errors for other programs that read it."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        values["accuracy"] = {name: value for name, value in values["accuracy"].items() if value is not None}
        values["standard_errors"] = {
            split: standard_error(values["accuracy"][split], num_examples)
            for split in ("validation", "test")
            if split in values["accuracy"] and (num_examples := num_examples_of(self.dataset, split))
        }
        return json.loads(json.dumps(values))

    @classmethod
    def from_json(cls, value, where="a network's description"):
        """Returns the description whose `to_json()` returned `value`. `where` is what messages call it.

        Raises:
            UserError: a key is missing or unknown, or a value is of another kind.
        """
        value = _checked(cls, value, where, _UNREAD_KEYS)
        try:
            for name in ("latency", "latency_judged"):
                if name in value:
                    value[name] = Latency(**value[name])
            value["accuracy"] = Accuracies(**value.get("accuracy", {}))
            value["class_names"], value["history"] = tuple(value["class_names"]), tuple(value.get("history", ()))
            return cls(**value)
        except (TypeError, ValueError) as error:
            raise UserError(f"{where} is damaged: {first_line(error)}") from error


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """One file of a network that ships, with its figures. A figure that was not measured is None.

    Attributes:
        file: its name.
        number_type: of `nas_tf.export.NUMBER_TYPES`.
        bytes: its size; None if the converter refused to write it.
        validation_accuracy: in [0, 1].
        num_validation: on how many images that was measured.
        sha256: digest of the file (`nas_tf.files.digest`); None if it was not recorded.
        latency: on `device`, the dict of `nas_tf.devices.Device.describe()`.
        device_name: that device in one line.
        failure: why nobody should ship the file; None if it has not failed.
        measured_at: UTC, ISO 8601.
        asked: fingerprint of all that the figures depend on, apart from the network.
    """

    file: str
    number_type: str
    bytes: int | None
    measured_at: str
    validation_accuracy: float | None = None
    latency: Latency | None = None
    device: dict | None = None
    device_name: str | None = None
    failure: str | None = None
    asked: str = ""
    num_validation: int | None = None
    sha256: str | None = None

    @property
    def latency_ms(self):
        """float, or None if the file was not timed."""
        return self.latency and self.latency.latency_ms

    def to_json(self):
        """Returns a JSON-ready dict, with `latency_ms` and `standard_error` for other programs that read it."""
        reached, error = self.validation_accuracy, None
        if reached is not None and self.num_validation:
            error = standard_error(reached, self.num_validation)
        derived = {"latency_ms": self.latency_ms, "standard_error": error}
        return json.loads(json.dumps({**dataclasses.asdict(self), **derived}))

    @classmethod
    def from_json(cls, value, where="a record of a file"):
        """Returns the record whose `to_json()` returned `value`. `where` is what messages call it.

        Raises:
            UserError: a key is missing or unknown, or a value is of another kind.
        """
        value = _checked(cls, value, where, frozenset(("latency_ms", "standard_error")), may_lack=("bytes",))
        try:
            if "latency" in value:
                value["latency"] = Latency(**value["latency"])
            return cls(**{"bytes": None, **value})
        except (TypeError, ValueError) as error:
            raise UserError(f"{where} is damaged: {first_line(error)}") from error


def _checked(kind, value, where, unread_keys, may_lack=()):
    """Returns the dict `value` without what is None and without unread keys, if its keys are those of `kind`."""
    if not isinstance(value, dict):
        raise UserError(f"Expected {where} to be a JSON object. Received: {type(value).__name__}")
    value = {name: each for name, each in value.items() if name not in unread_keys and each is not None}
    fields = dataclasses.fields(kind)
    required = [
        each.name
        for each in fields
        if each.default is each.default_factory is dataclasses.MISSING and each.name not in may_lack
    ]
    missing = [name for name in required if name not in value]
    unknown = sorted(value.keys() - {each.name for each in fields})
    if missing or unknown:
        raise UserError(
            f"{where} is not what this version writes: missing keys {_names(missing)}, unknown keys "
            f"{_names(unknown)}. Make it again with this version"
        )
    return value


def _names(names):
    return ", ".join(names) or "none"
