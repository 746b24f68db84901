"""A trained detector's folder: detector.json and model.keras. Nothing else writes or reads them."""

import dataclasses
import json
import pathlib

from nas_tf.detection.evaluate import MeanPrecision
from nas_tf.detection.nms import Suppression
from nas_tf.export import to_keras
from nas_tf.files import digest, load_json, write_json
from nas_tf.networks.folder import read_keras
from nas_tf.trial import UserError, first_line

DESCRIPTION, MODEL = "detector.json", "model.keras"


@dataclasses.dataclass(frozen=True)
class DetectorDescription:
    """What a detector is and how it came to be.

    Attributes:
        text: the architecture of its network in one line.
        space, architecture, fingerprint: of that network, as of `nas_tf.networks.description.NetworkDescription`.
        scale: the family's `Scale` as a dict.
        image_size: height and width of its images in pixels.
        class_names: in the order of labels.
        weights: where its weights come from, in words.
        recipe: how it was trained, as a dict.
        loss: of `nas_tf.detection.loss.LOSSES`.
        suppression: the `Suppression` by which it was judged, as a dict.
        data: `nas_tf.detection.data.DetectionData.describe()` of its images.
        seed: of its training.
        num_params, mult_adds: trainable parameters, and multiply-adds of one image, both with the head.
        precision: dict from split to the `MeanPrecision` there.
        history: a dict for each epoch (`nas_tf.detection.train.train`).
        files: dict from the name of each file of its folder to its SHA-256.
    """

    text: str
    space: dict
    architecture: object
    fingerprint: str
    scale: dict
    image_size: int
    class_names: tuple[str, ...]
    weights: str
    recipe: dict
    loss: str
    suppression: dict
    data: dict
    seed: int
    num_params: int
    mult_adds: int
    precision: dict[str, MeanPrecision] = dataclasses.field(default_factory=dict)
    history: tuple[dict, ...] = ()
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self):
        """Returns a JSON-ready dict."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, value, where):
        """Returns the description whose `to_json()` returned `value`. `where` is what messages call it.

        Raises:
            UserError: a key is missing or unknown, or a value is of another kind.
        """
        try:
            value = dict(value)
            value["class_names"], value["history"] = tuple(value["class_names"]), tuple(value["history"])
            value["precision"] = {
                split: MeanPrecision(**{**each, "by_class": tuple(each["by_class"])})
                for split, each in value["precision"].items()
            }
            description = cls(**value)
            Suppression(**description.suppression)
            names = all(isinstance(each, str) for each in description.class_names)
            if not names or not isinstance(description.image_size, int) or not description.class_names:
                raise ValueError("expected names of classes, and an image size in pixels")
            return description
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{where} is damaged: {first_line(error)}") from error


def has_detector(folder):
    """Returns whether the folder has a `detector.json`."""
    return (pathlib.Path(folder) / DESCRIPTION).is_file()


def write_detector(folder, model, description):
    """Writes a detector's folder and returns the description that it holds. `detector.json` is written last."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    to_keras(model, folder / MODEL)
    description = dataclasses.replace(description, files={MODEL: digest(folder / MODEL)})
    write_json(folder / DESCRIPTION, description.to_json())
    return description


def read_description(folder):
    """Returns the `DetectorDescription` in a detector's folder.

    Raises:
        UserError: there is no such folder, or its `detector.json` is damaged.
    """
    path = pathlib.Path(folder) / DESCRIPTION
    if not path.is_file():
        raise UserError(f"Expected the folder of a trained detector. There is no file {str(path)!r}")
    try:
        value = load_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return DetectorDescription.from_json(value, str(path))


def read_detector(folder):
    """Returns `(keras.Model, DetectorDescription)` of a detector's folder.

    Raises:
        UserError: a file is missing or damaged.
    """
    description, path = read_description(folder), pathlib.Path(folder) / MODEL
    if path.is_file() and description.files.get(MODEL, digest(path)) != digest(path):
        raise UserError(
            f"{path} is damaged: its SHA-256 is not the one in {DESCRIPTION}. Give the command that made the folder "
            "again, or restore the file"
        )
    return read_keras(path), description
