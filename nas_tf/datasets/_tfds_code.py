"""What TFDS would run that a file names: data sets of its community, and kinds of features. Imports no TensorFlow."""

import contextlib
import re


def is_of_community(name):
    """Returns whether TFDS fetches code for the data set of this name and runs it, as for `huggingface:mnist`."""
    return re.match(r"[\w-]+:[a-zA-Z]", str(name)) is not None


@contextlib.contextmanager
def own_features_only(features):
    """Inside it, only kinds of features of TFDS itself are made: it would import any module that a features.json names.

    Args:
        features: the module `tensorflow_datasets.features`.
    """
    kind, found = features.FeatureConnector, features.FeatureConnector.__dict__["cls_from_name"]

    def of_name(cls, name):
        if not name.startswith("tensorflow_datasets."):
            raise ValueError(f"its features.json names {name!r}, which is no feature of TFDS")
        return found.__func__(cls, name)

    kind.cls_from_name = classmethod(of_name)
    try:
        yield
    finally:
        kind.cls_from_name = found
