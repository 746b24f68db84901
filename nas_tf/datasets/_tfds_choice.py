"""What of a TFDS data set is used: its image and label features, and a split for each part. Imports no TensorFlow."""

import numpy as np

from nas_tf.trial import UserError

# The test split of ImageNet has no labels.
_TEST_SPLIT = {"imagenet2012": "validation"}


def check_features(builder):
    """Raises `nas_tf.trial.UserError` unless examples hold an `image` of 8 or 16 bits and a class `label`."""
    found, full_name = builder.info.features, builder.info.full_name
    features = dict(found.items()) if hasattr(found, "items") else {}
    if not (_is(features.get("image"), "Image") and _is(features.get("label"), "ClassLabel")):
        listed = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in sorted(features.items()))
        raise UserError(
            "Expected a TFDS data set with the features image (Image) and label (ClassLabel). "
            f"Received: {full_name} with {listed or type(found).__name__}. Choose another data set"
        )
    dtype = np.dtype(features["image"].np_dtype)
    if dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"Expected images of uint8 or uint16 in the TFDS data set {full_name}. Received: {dtype}. Choose another"
        )


def choose_splits(config, builder):
    """dict from `"train"`, and from each other part that has a split of its own, to that split.

    Raises:
        UserError: there is no such split, it is empty, or it is to serve twice.
    """
    known = builder.info.splits
    splits = {"train": config.train_split}
    if config.validation_split:
        splits["validation"] = config.validation_split
    usual = (_TEST_SPLIT.get(builder.name, "test"), "validation")
    test = config.test_split or next((name for name in usual if name in known and name not in splits.values()), "")
    if test:
        splits["test"] = test
    for part, split in splits.items():
        if split.partition("[")[0] not in known or not known[split].num_examples:
            raise UserError(
                f"Expected {part}_split to be one of {', '.join(known)}, or a slice of it with examples, of the TFDS "
                f"data set {builder.info.full_name}. Received: {part}_split={split!r}"
            )
    if len(set(splits.values())) < len(splits):
        received = ", ".join(f"{part}_split={split!r}" for part, split in splits.items())
        raise UserError(f"Expected train, validation and test splits that differ. Received: {received}. Change one")
    return splits


def circular_slice(split, start, count, total):
    """The TFDS expression for `count` of a split's `total` records from `start` on, past the end back to the first."""
    start %= total
    end = start + count
    return f"{split}[{start}:{end}]" if end <= total else f"{split}[{start}:]+{split}[:{end - total}]"


def _is(feature, class_name):
    return class_name in (each.__name__ for each in type(feature).__mro__)
