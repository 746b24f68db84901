"""TFLite metadata: what Android Studio, the Task Library and MediaPipe read from a file to use it.

The tables are those of metadata_schema.fbs (github.com/tensorflow/tflite-support), as far as they are used here. They
stand in a buffer of the model's own flatbuffer. The labels are a zip archive appended to it. This module exists because
`tflite-support` has no wheels beyond Python 3.11.
"""

import dataclasses
import io
import math
import pathlib
import struct
import zipfile

from nas_tf.datasets import PIXEL_MEAN, PIXEL_STD
from nas_tf.shipping import _flatbuffer
from nas_tf.trial import UserError

# From table to its fields in the order of the schema, which numbers them. A union takes two numbers, its type first.
TABLES = {
    "ModelMetadata": (
        ("name", "string"), ("description", "string"), ("version", "string"),
        ("subgraph_metadata", ["SubGraphMetadata"]), ("author", "string"), ("license", "string"),
        ("associated_files", ["AssociatedFile"]), ("min_parser_version", "string"),
    ),
    "SubGraphMetadata": (
        ("name", "string"), ("description", "string"), ("input_tensor_metadata", ["TensorMetadata"]),
        ("output_tensor_metadata", ["TensorMetadata"]), ("associated_files", ["AssociatedFile"]),
    ),
    "TensorMetadata": (
        ("name", "string"), ("description", "string"), ("dimension_names", ["string"]), ("content", "Content"),
        ("process_units", ["ProcessUnit"]), ("stats", "Stats"), ("associated_files", ["AssociatedFile"]),
    ),
    "Content": (("content_properties", ("FeatureProperties", "ImageProperties", "BoundingBoxProperties")),),
    "FeatureProperties": (),
    "BoundingBoxProperties": (("index", ["uint"]), ("type", "byte"), ("coordinate_type", "byte")),
    "ImageProperties": (("color_space", "byte"),),
    "ProcessUnit": (("options", ("NormalizationOptions",)),),
    "NormalizationOptions": (("mean", ["float"]), ("std", ["float"])),
    "Stats": (("max", ["float"]), ("min", ["float"])),
    "AssociatedFile": (("name", "string"), ("description", "string"), ("type", "byte"), ("locale", "string")),
}  # fmt: skip
_RGB, _TENSOR_AXIS_LABELS = 1, 2
_PARSER_VERSION = "1.0.0"  # of the schema in which every field used here exists
_ENTRY, LABELS = "TFLITE_METADATA", "labels.txt"
_FLOAT32, _UINT8, _INT8 = 0, 3, 9  # TensorType of TFLite's schema.fbs
# How an image that is not square becomes square, as a data set's `fit` says, at the end of the input's description.
_FITS = {"stretch": "the whole image, resized", "crop": "the largest square at its middle, resized"}
_MOST_LABEL_BYTES = 4 * 2**20
_INTEGER_RANGES = {_UINT8: (0.0, 255.0), _INT8: (-128.0, 127.0)}


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Attributes:
        name, description, version, author, license: texts for people.
        labels: names of the classes, in the order of the outputs; empty: none are written.
        mean, std: a pixel p of 0 to 255 is normalised to (p - mean) / std. For a file with integer inputs, that value
            is then quantised by the input tensor's own scale and zero point, as the schema asks.
        fit: how an image becomes square: `"stretch"`, the whole of it, or `"crop"`, its middle.
        min_parser_version: version of the schema that a reader must know.
    """

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    labels: tuple[str, ...] = ()
    mean: float = PIXEL_MEAN
    std: float = PIXEL_STD
    fit: str = "stretch"
    min_parser_version: str = _PARSER_VERSION


def write(content, metadata):
    """Returns the bytes of a TFLite file with metadata, in place of any that it had.

    The weights are not touched, and stay aligned as they were.

    Args:
        content: bytes of a TFLite file from images to class probabilities.
        metadata: the `Metadata`.

    Raises:
        ValueError: `content` is not a TFLite file, or labels and classes differ in number.
    """
    (*_, num_classes), wanted = _flatbuffer.Model(_without_archive(content)).output
    if metadata.labels and len(metadata.labels) != num_classes:
        raise ValueError(f"Expected a label for each of {num_classes} classes. Received: {len(metadata.labels)}")
    return with_outputs(content, metadata, [_output(metadata, num_classes, wanted)])


def with_outputs(content, metadata, outputs):
    """Returns what `write` does, of a file from images to whatever `outputs` say: dicts of the table TensorMetadata."""
    model = _flatbuffer.Model(_without_archive(content))
    (_, height, width, _), given = model.input
    tables = {
        **{name: getattr(metadata, name) for name in ("name", "description", "version", "author", "license")},
        "subgraph_metadata": [{
            "input_tensor_metadata": [_input(metadata, height, width, given)],
            "output_tensor_metadata": outputs,
        }],
        "min_parser_version": metadata.min_parser_version,
    }  # fmt: skip
    whole = model.with_buffer(_ENTRY, _flatbuffer.pack(TABLES, "ModelMetadata", tables, b"M001"))
    if not metadata.labels:
        return whole
    archive = io.BytesIO(whole)
    with zipfile.ZipFile(archive, "a") as file:  # stored, not compressed: some readers map the labels
        file.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in metadata.labels))
    return archive.getvalue()


def _input(metadata, height, width, tensor_type):
    low, high = ((pixel - metadata.mean) / metadata.std for pixel in (0.0, 255.0))
    low, high = _INTEGER_RANGES.get(tensor_type, (low, high))
    return {
        "name": "image",
        "description": f"RGB image of {height} x {width} pixels: {_FITS[metadata.fit]}",
        "content": {"content_properties_type": "ImageProperties", "content_properties": {"color_space": _RGB}},
        "process_units": [{
            "options_type": "NormalizationOptions",
            "options": {"mean": [metadata.mean], "std": [metadata.std]},
        }],
        "stats": {"max": [high], "min": [low]},
    }  # fmt: skip


def _output(metadata, num_classes, tensor_type):
    low, high = _INTEGER_RANGES.get(tensor_type, (0.0, 1.0))
    labels = {"name": LABELS, "description": "Names of the classes, one a line", "type": _TENSOR_AXIS_LABELS}
    return {
        "name": "probability",
        "description": f"Probabilities of the {num_classes} classes",
        "content": {"content_properties_type": "FeatureProperties", "content_properties": {}},
        "stats": {"max": [high], "min": [low]},
        **({"associated_files": [labels]} if metadata.labels else {}),
    }


def read(path):
    """Returns the `Metadata` of a TFLite file.

    Raises:
        UserError: there is no such file, or it is not a TFLite file, or it has no metadata of an image classifier.
    """
    tables = read_tables(path)
    try:
        subgraph = tables["subgraph_metadata"][0]
        given = subgraph["input_tensor_metadata"][0]
        units = given["process_units"]
        normalisation = next(unit["options"] for unit in units if unit["options_type"] == "NormalizationOptions")
        files = subgraph["output_tensor_metadata"][0].get("associated_files", [])
        names = [file["name"] for file in files if file.get("type") == _TENSOR_AXIS_LABELS]
        labels = ()
        if names:
            with zipfile.ZipFile(path) as archive, archive.open(names[0]) as file:
                text = file.read(_MOST_LABEL_BYTES + 1)
            if len(text) > _MOST_LABEL_BYTES:
                raise ValueError(f"labels of at most {_MOST_LABEL_BYTES:,} bytes")
            labels = tuple(text.decode().splitlines())
        texts = ("name", "description", "version", "author", "license", "min_parser_version")
        (mean, *_), (std, *_) = normalisation["mean"], normalisation["std"]
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError("a mean that is finite and a std > 0")
        fit = next((name for name, words in _FITS.items() if given.get("description", "").endswith(words)), "stretch")
    except (KeyError, IndexError, StopIteration, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"Expected an image classifier's metadata in {str(path)!r}. It lacks {error!r}") from error
    return Metadata(**{name: tables.get(name, "") for name in texts}, labels=labels, mean=mean, std=std, fit=fit)


def read_tables(path):
    """Returns the metadata as a dict of nested tables, by the names of the schema, without what is absent or 0.

    Raises:
        UserError: there is no such file, or it is not a TFLite file, or it has no metadata.
    """
    try:
        buffer = _flatbuffer.Model(_without_archive(pathlib.Path(path).read_bytes())).buffer(_ENTRY)
    except (OSError, ValueError, struct.error) as error:
        raise UserError(f"Expected a TFLite file. Received: {str(path)!r}: {error}") from error
    if buffer is None:
        raise UserError(f"Expected a TFLite file with metadata. {str(path)!r} has none")
    return _flatbuffer.unpack(TABLES, "ModelMetadata", buffer)


def _without_archive(content):
    """Returns the bytes before a zip archive at their end, or all of them if there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return content[: min([info.header_offset for info in archive.infolist()], default=archive.start_dir)]
    except zipfile.BadZipFile:
        return content
