"""Which features of a TFDS data set are used, and which of its splits. Imports no TensorFlow."""

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
    """Returns a dict from `"train"`, `"validation"` and `"test"` to TFDS's expression for that split.

    Validation and test are left out where they have no split of their own.

    Raises:
        UserError: a split does not exist or is empty, or one is chosen twice.
    """
    known = builder.info.splits
    splits = {"train": config.train_split}
    if config.validation_split:
        splits["validation"] = config.validation_split
    usual = (_TEST_SPLIT.get(builder.name, "test"), "validation")
    test = config.test_split or next((name for name in usual if name in known and name not in splits.values()), "")
    if test:
        splits["test"] = test
    for split, tfds_split in splits.items():
        if tfds_split.partition("[")[0] not in known or not known[tfds_split].num_examples:
            raise UserError(
                f"Expected {split}_split to be one of {', '.join(known)}, or a slice of it with examples, of the TFDS "
                f"data set {builder.info.full_name}. Received: {split}_split={tfds_split!r}"
            )
    if len(set(splits.values())) < len(splits):
        received = ", ".join(f"{split}_split={tfds_split!r}" for split, tfds_split in splits.items())
        raise UserError(f"Expected train, validation and test splits that differ. Received: {received}. Change one")
    return splits


def circular_slice(split, start, count, total):
    """Returns TFDS's expression for `count` records from number `start` on; behind the last comes the first.

    Args:
        split: name of a TFDS split.
        start: number of the first record.
        count: how many records.
        total: how many records the split has.
    """
    start %= total
    end = start + count
    return f"{split}[{start}:{end}]" if end <= total else f"{split}[{start}:]+{split}[:{end - total}]"


def _is(feature, class_name):
    return class_name in (each.__name__ for each in type(feature).__mro__)
