"""Images that only a teacher labels, among the training images."""

import numpy as np

from nas_tf.datasets import Images
from nas_tf.datasets.image_folder import read_unlabelled
from nas_tf.trial import UserError

NO_LABEL = -1


class WithUnlabelled:
    """A data set whose train split also has images without a label, which is `NO_LABEL` there; all else is as it was.

    Args:
        dataset: the `nas_tf.datasets.Dataset`, whose train split is in memory.
        folder: folder or zip with images, anywhere in it.
        image_size: height and width of the images in pixels.

    Raises:
        UserError: there is no image, or the train split is streamed.
    """

    def __init__(self, dataset, folder, image_size):
        self._dataset, self._images = dataset, read_unlabelled(folder, image_size)

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    @property
    def num_unlabelled(self):
        return len(self._images)

    def train(self):
        split = self._dataset.train()
        if not isinstance(split, Images):
            raise UserError(
                f"--unlabelled_dir needs training images that fit into memory. Received: {split.num_examples:,}, which "
                "are streamed. Choose fewer with --num_samples, or a smaller --image_size"
            )
        labels = np.full(len(self._images), NO_LABEL, np.int32)
        return Images(np.concatenate([split.images, self._images]), np.concatenate([split.labels, labels]))
