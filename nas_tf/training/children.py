"""A parent that is fine-tuned on the user's images once, and children of it that are trained briefly.

Children learn from labels and from the parent's answers. All of them see the same images in the same order, mirrored
alike where the data set allows that, and are judged on images and their mirror images together.
"""

import dataclasses
import functools
import time

import numpy as np

from nas_tf import resume
from nas_tf.accuracy import standard_error
from nas_tf.bars import doing
from nas_tf.datasets import Images, Stream, indexed_batches, scale_pixels
from nas_tf.files import read_json, write_array, write_json
from nas_tf.networks import inheritance
from nas_tf.networks.folder import read_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.evaluate import traced
from nas_tf.training.parent import EXAMPLES
from nas_tf.training.recipe import PLANS, Recipe
from nas_tf.training.views import ViewSteps, num_views, views_of
from nas_tf.trial import UserError

PARENT = "parent.keras"  # the fine-tuned parent, in the folder that `Trainer.prepare` is given
_BATCH = 64
_SIZES = 2  # image sizes of which the images stay in memory
_TEACHER, _MADE = "teacher.npy", "parent.json"


@dataclasses.dataclass(frozen=True)
class ChildTraining(Settings):
    """How the parent and its children are trained."""

    parent_epochs: int = knob(3, "Epochs of the parent on the training images.", least=1)
    epochs: int = knob(1, "Epochs of a child.", least=1)
    batch_size: int = knob(32, "Images in a step.", least=1)
    learning_rate: float = knob(3e-4, "Peak for a child that answers like its parent, with frozen batch norm.", above=0)
    far_learning_rate: float = knob(1e-3, "Peak for another child, whose batch norm is trained.", above=0)
    near: float = knob(
        0.5, "Share of the training images on which a child must answer like its parent to count as near.", least=0
    )
    validation_samples: int = knob(
        1500, "Validation images on which a child is judged, the same for all; 0: all.", least=0
    )
    teacher_weight: float = knob(0.7, "Share of the loss that goes to the parent's answers.", least=0, most=1)


def child_scale(proxy_scale, deploy_scale):
    """Returns the scale of children: that at which networks ship, at the proxy's image size and without dropout."""
    return dataclasses.replace(deploy_scale, image_size=proxy_scale.image_size, dropout_rate=0.0)


class Trainer:
    """Fine-tunes a parent once, and then children of it.

    Args:
        settings: the `ChildTraining`.
        space: the `nas_tf.space.SearchSpace`.
        images: the `nas_tf.datasets.Source` of the images.
        scale: the family's `Scale` of children that have no image size of their own.
        num_samples: training images that a child sees; 0: all.
        seed: decides the order of images.
        parent: the `nas_tf.networks.parent.ParentNetwork`.
    """

    def __init__(self, settings, space, images, scale, num_samples, seed, parent):
        self._settings, self._space, self._images_from, self.scale = settings, space, images, scale
        self._num_samples, self._seed, self.parent = num_samples, seed, parent
        self._folder = None
        self._at = functools.lru_cache(maxsize=_SIZES)(lambda size: _ImagesAt(self, size))

    def prepare(self, folder, asked):
        """Fine-tunes the parent in `folder`, unless that was done.

        Args:
            folder: `pathlib.Path`.
            asked: JSON-ready dict of everything that decides it. A folder that was begun with another is refused.
        """
        self._folder = folder
        if (folder / _MADE).exists():
            return
        from nas_tf.export import to_keras
        from nas_tf.training.network import train_network
        from nas_tf.training.train import Log

        settings = self._settings
        folder.mkdir(parents=True, exist_ok=True)
        resume.begin(folder / "settings.json", asked, instead="choose another --run_dir")
        recipe = dataclasses.replace(
            PLANS["finetune"].recipe, epochs=settings.parent_epochs, batch_size=settings.batch_size
        )
        log, ours = Log(folder / "checkpoint.npz", asked=asked), self._at(self.scale.image_size)
        model, training = train_network(
            lambda scale: self._space.build(self.parent.architecture, scale),
            self.scale,
            ours.dataset,
            recipe,
            self._seed,
            log=log,
            start=self.parent.load,
            progress=f"fine-tuning the parent, {self.parent.name}",
        )
        to_keras(model, folder / PARENT)
        doing("asking the parent")
        write_array(folder / _TEACHER, ours.answers(model, ours.train.images))
        log.path.unlink(missing_ok=True)
        reached = training.accuracy.validation
        write_json(
            folder / _MADE,
            {
                "accuracy": reached,
                "standard_error": standard_error(reached, ours.validation.num_examples),
                "recipe": training.recipe,
                "weights": training.weights,
            },
        )

    def open(self, folder):
        """Takes the fine-tuned parent in `folder`, which an earlier `prepare` has made."""
        self._folder = folder

    def facts(self):
        """Returns a dict of the parent's accuracy and how it came to its weights."""
        return read_json(self._folder / _MADE)

    def images(self, image_size=None):
        """Returns the images at a size in pixels, by default that of the scale; `dataset`, `train`, `validation`."""
        return self._at(image_size or self.scale.image_size)

    def read_parent(self, image_size=None):
        """Returns the fine-tuned parent, a `keras.Model` for images of this size in pixels."""
        model = read_keras(self._folder / PARENT)
        if image_size in (None, self.scale.image_size):
            return model
        other = self._space.build(self.parent.architecture, dataclasses.replace(self.scale, image_size=image_size))
        other.set_weights(model.get_weights())
        return other

    def inheritable(self, image_size=None):
        """Returns the `nas_tf.networks.inheritance.Parent` of children for images of this size in pixels."""
        return self.images(image_size).inheritable

    def counterparts(self, architecture):
        return self._space.counterparts(architecture, self.parent.architecture)

    def train(self, child, image_size, seed, max_steps=None):
        """Trains a child, which has its weights already, in place; returns its `nas_tf.training.train.Trained`.

        Args:
            child: the `keras.Model`.
            image_size: of its images in pixels.
            seed: decides the order of images.
            max_steps: ends training early, for a rehearsal.
        """
        from nas_tf.training.train import train

        begin, settings, ours = time.perf_counter(), self._settings, self.images(image_size)
        is_near = ours.agreement(child) >= settings.near
        recipe = Recipe(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            optimizer="adamw",
            learning_rate=settings.learning_rate if is_near else settings.far_learning_rate,
            batch_norm="frozen" if is_near else "trained",
        )
        trained = train(child, ours.lessons, recipe, seed=seed, max_steps=max_steps)
        doing("validating")
        reached, error = self.judged(child, image_size, _BATCH if max_steps else None)
        seconds = time.perf_counter() - begin
        return dataclasses.replace(trained, accuracy=reached, standard_error=error, train_seconds=seconds)

    def judged(self, child, image_size, num_images=None):
        """Returns the accuracy of a child on (the first of) the validation images, and its standard error."""
        ours = self.images(image_size)
        pixels, labels = ours.validation.images[:num_images], ours.validation.labels[:num_images]
        answers = ours.answers(child, pixels).mean(axis=1)
        reached = float((answers.argmax(axis=1) == labels).mean())
        return reached, standard_error(reached, len(labels))


class _ImagesAt:
    """The images at one size, and what is made of them."""

    def __init__(self, trainer, image_size):
        self._trainer, self._image_size = trainer, image_size
        self.dataset = trainer._images_from.make(image_size, trainer._num_samples)

    @functools.cached_property
    def train(self):
        return _in_memory(self.dataset.train())

    @functools.cached_property
    def validation(self):
        split, most = _in_memory(self.dataset.validation()), self._trainer._settings.validation_samples
        if not most or most >= split.num_examples:
            return split
        chosen = np.sort(np.random.default_rng(self._trainer._seed).permutation(split.num_examples)[:most])
        return Images(split.images[chosen], split.labels[chosen])

    @functools.cached_property
    def teacher(self):
        """The parent's answers, at its own size, to the training images: float32 [n, views, classes]."""
        return np.load(self._trainer._folder / _TEACHER, allow_pickle=False)

    @functools.cached_property
    def inheritable(self):
        return inheritance.Parent(self._trainer.read_parent(self._image_size), scale_pixels(self.examples))

    @functools.cached_property
    def _chosen(self):
        count = self.train.num_examples
        return np.random.default_rng(self._trainer._seed).permutation(count)[:EXAMPLES]

    @property
    def examples(self):
        return self.train.images[self._chosen]

    def agreement(self, child):
        """Returns the share of the examples on which `child` answers like the parent."""
        ours = self.answers(child, self.examples)[:, 0].argmax(axis=1)
        return float((ours == self.teacher[self._chosen, 0].argmax(axis=1)).mean())

    def answers(self, model, images):
        """Returns probabilities of images and their mirror images, float32 [n, views, classes]."""
        found, ask = [], traced(model)
        for first in range(0, len(images), _BATCH):
            x = scale_pixels(images[first : first + _BATCH])
            views = views_of(x, num_views(self.dataset))
            found.append(np.stack([ask(view) for view in views], axis=1))
        return np.concatenate(found)

    @functools.cached_property
    def lessons(self):
        return _Lessons(self, self._trainer._settings.teacher_weight)


class _Lessons:
    """A data set whose labels are probabilities: the true class, and what the parent answered."""

    augmentation = "none"  # images are mirrored as they are read

    def __init__(self, ours, weight):
        views, images, labels = num_views(ours.dataset), ours.train.images, ours.train.labels
        self.num_classes = ours.dataset.num_classes
        truth = np.eye(self.num_classes, dtype=np.float32)[labels][:, None]
        targets = ((1 - weight) * truth + weight * ours.teacher).astype(np.float32)
        count, self._validation = len(images), ours.validation

        def read(numbers):
            view, image = np.divmod(numbers, count)
            pixels = images[image]
            pixels[view == 1] = pixels[view == 1][:, :, ::-1]
            return pixels, targets[image, view]

        def batches(batch_size, *, seed=None, epochs=1, first_step=0):
            return indexed_batches(read, ViewSteps(count, batch_size, seed, epochs, first_step, views))

        self._split = Stream(batches, count)

    def train(self):
        return self._split

    def validation(self):
        """The first images alone: the trainer looks at all of them, and at their mirror images, itself."""
        return Images(self._validation.images[:_BATCH], self._validation.labels[:_BATCH])


def _in_memory(split):
    if isinstance(split, Images):
        return split
    raise UserError(
        f"Children of a parent are judged on images in memory. Received: {split.num_examples:,} images, which are "
        "streamed. Choose fewer with --proxy_samples, or a smaller --proxy_image_size"
    )
