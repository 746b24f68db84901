"""TFLite metadata of a detector with suppression: what the Task Library's and MediaPipe's object detectors read."""

import zipfile

from nas_tf.shipping.tflite_metadata import LABELS, Metadata, read_tables, with_outputs
from nas_tf.trial import UserError

_BOUNDARIES, _RATIO, _TENSOR_VALUE_LABELS = 1, 0, 3  # of metadata_schema.fbs
# Where left, top, right and bottom stand in a box.
_ORDER = (1, 0, 3, 2)
_MOST_LABEL_BYTES = 4 << 20


def write(content, metadata):
    """Returns the bytes of a detector's TFLite file with metadata and labels.

    Args:
        content: bytes of a file of `nas_tf.detection.export.write_tflite` with suppression.
        metadata: the `nas_tf.shipping.tflite_metadata.Metadata`.

    Raises:
        ValueError: it is no TFLite file.
    """
    return with_outputs(content, metadata, _outputs())


def _outputs():
    labels = {"name": LABELS, "description": "Names of the classes, one a line", "type": _TENSOR_VALUE_LABELS}
    boxes = {"index": list(_ORDER), "type": _BOUNDARIES, "coordinate_type": _RATIO}
    plain = {"content_properties_type": "FeatureProperties", "content_properties": {}}
    return [
        {
            "name": "location",
            "description": "Boxes: top, left, bottom, right in shares of the image",
            "content": {"content_properties_type": "BoundingBoxProperties", "content_properties": boxes},
        },
        {"name": "category", "description": "Classes of the boxes", "content": plain, "associated_files": [labels]},
        {
            "name": "score",
            "description": "Scores of the boxes",
            "content": plain,
            "stats": {"max": [1.0], "min": [0.0]},
        },
        {"name": "number of detections", "description": "How many boxes there are", "content": plain},
    ]


def read_labels(path):
    """Returns the names of the classes in a detector's TFLite file.

    Raises:
        UserError: there is no such file, it is no TFLite file, or it has no metadata of a detector.
    """
    tables = read_tables(path)
    try:
        outputs = tables["subgraph_metadata"][0]["output_tensor_metadata"]
        if [each["name"] for each in outputs] != [each["name"] for each in _outputs()]:
            raise ValueError("outputs of a detector")
        with zipfile.ZipFile(path) as archive, archive.open(LABELS) as file:
            text = file.read(_MOST_LABEL_BYTES)
        return tuple(text.decode().splitlines())
    except (KeyError, IndexError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"Expected a detector's metadata in {str(path)!r}. It lacks {error!r}") from error


def described(description, version, author, licence):
    """Returns the `Metadata` of a file of a `nas_tf.detection.folder.DetectorDescription`."""
    return Metadata(
        name=f"SSDLite detector, {description.image_size} px",
        description=f"Object detector on {description.text}",
        version=version,
        author=author,
        license=licence,
        labels=description.class_names,
    )
