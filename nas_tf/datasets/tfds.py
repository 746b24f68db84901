"""Any labelled image data set of TensorFlow Datasets, by name, or one that TFDS itself wrote into `--data_dir`.

CIFAR-10 and CIFAR-100 are held in memory and shifted and mirrored in training. ImageNet (`imagenet2012`) is streamed:
training images are random crops of 8 % to 100 % of the area (Szegedy et al. 2014, "Going deeper with convolutions",
section 6), mirrored at random; others the central 87.5 %. Any other is resized whole; it stays in memory where it fits.

What has no split of its own is drawn from the training split: stratified where the data set is held in memory, else as
consecutive records at a seeded position, since TFDS has shuffled them when it wrote them.
"""

import contextlib
import dataclasses
import os
import typing

import numpy as np

from nas_tf.datasets import Dataset, Images, Stream, _tfds_pipeline, check_fractions, check_request, partition
from nas_tf.flags import knob
from nas_tf.quiet import quiet
from nas_tf.trial import UserError

_AUGMENTATION = {"cifar10": "shift_flip", "cifar100": "shift_flip", "imagenet2012": "none"}


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = knob("cifar10", "TFDS name, with a configuration and a version where needed: 'name/config:1.0.0'.")
    train_split: str = knob("train", "Split to train on.")
    validation_split: str = knob("", "Split to validate on; empty: drawn from the training split.")
    test_split: str = knob("", "Split to test on; empty: 'test' or else 'validation', or else drawn from training.")
    validation_fraction: float = knob(0.1, "Share of the training split that is drawn for validation.")
    test_fraction: float = knob(0.1, "Share of the training split that is drawn for testing, where it is.")
    augmentation: typing.Literal["auto", "none", "shift", "shift_flip", "crop_flip"] = knob(
        "auto", "What training may do to an image without changing its class; auto: 'shift', more for CIFAR and ImageNet."
    )
    max_memory_mb: int = knob(4096, "Decoded images above this size are streamed.")
    download: bool = knob(False, "Downloads and prepares the data set if it is not in --data_dir.")

    def __post_init__(self):
        check_fractions(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)
        if self.max_memory_mb < 0:
            raise UserError(f"Expected --tfds_max_memory_mb >= 0. Received: {self.max_memory_mb}")
