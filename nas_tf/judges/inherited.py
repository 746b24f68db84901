"""A child begins with the weights of a parent that was fine-tuned on the user's images, and is trained briefly.

Once a run, the parent of `--parent` is fine-tuned at the judge's image size. A child inherits from it, its classifier
included, and learns from labels and from the parent's answers for a short time. All children see the same images in
the same order, mirrored alike where the data set allows that, and are judged on images and their mirror images
together. A child is the network that would ship, at `--proxy_image_size`; the width of proxies has no say.
"""

import dataclasses
import functools
import importlib
import time

import numpy as np

from nas_tf import resume
from nas_tf.accuracy import standard_error
from nas_tf.bars import doing
from nas_tf.datasets import Images, Stream, indexed_batches, scale_pixels
from nas_tf.files import write_array, write_json
from nas_tf.judges import PARENT, Judge, build_child
from nas_tf.networks import inheritance
from nas_tf.networks.folder import read_keras
from nas_tf.quiet import fresh_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.evaluate import traced
from nas_tf.training.parent import EXAMPLES
from nas_tf.training.recipe import PLANS, Recipe
from nas_tf.training.views import ViewSteps, num_views, views_of
from nas_tf.trial import UserError

_BATCH = 64
_TEACHER, _MADE = "teacher.npy", "parent.json"


@dataclasses.dataclass(frozen=True)
class Config(Settings):
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


def make(config, task):
    """Returns the `InheritedJudge` of a `nas_tf.judges.Task`."""
    return InheritedJudge(config, task)


def child_scale(proxy_scale, deploy_scale):
    """Returns the scale of children: that at which networks ship, at the proxy's image size and without dropout."""
    return dataclasses.replace(deploy_scale, image_size=proxy_scale.image_size, dropout_rate=0.0)


class InheritedJudge(Judge):
    """The validation accuracy of a child that began with its parent's weights."""

    def __init__(self, config, task):
        self._config, self._task, self._space = config, task, task.space.space
        self._folder = None

    def check(self):
        self._counterparts((0,) * len(self._space.decisions))

    def _counterparts(self, tokens):
        return self._space.counterparts(self._space.decode(tokens), self._parent.architecture)

    def describe(self):
        return {
            "judge": "inherited",
            "parent": self._parent.name,
            "parent_digest": self._parent.digest,
            "parent_architecture": str(self._parent.architecture),
            **dataclasses.asdict(self._config),
        }

    @functools.cached_property
    def _parent(self):
        if not self._task.parent:
            raise UserError(
                "--judge=inherited needs --parent, a trained network whose weights children begin with. Received: none"
            )
        return importlib.import_module(self._task.published).parent(self._task.parent)

    def prepare(self, folder):
        self._folder = folder
        if (folder / _MADE).exists():
            return
        from nas_tf.export import to_keras
        from nas_tf.training.network import train_network
        from nas_tf.training.train import Log

        task, config = self._task, self._config
        folder.mkdir(parents=True, exist_ok=True)
        asked = {**self.describe(), "scale": dataclasses.asdict(task.proxy_scale), "seed": task.seed}
        resume.begin(folder / "settings.json", asked, instead="choose another --run_dir")
        recipe = dataclasses.replace(
            PLANS["finetune"].recipe, epochs=config.parent_epochs, batch_size=config.batch_size
        )
        log = Log(folder / "checkpoint.npz", asked=asked)
        model, training = train_network(
            lambda scale: self._space.build(self._parent.architecture, scale),
            task.proxy_scale,
            self._images,
            recipe,
            task.seed,
            log=log,
            start=self._parent.load,
            progress=f"fine-tuning the parent, {self._parent.name}",
        )
        to_keras(model, folder / PARENT)
        doing("asking the parent")
        write_array(folder / _TEACHER, self._answers(model, self._train.images))
        log.path.unlink(missing_ok=True)
        reached, num_examples = training.accuracy.validation, self._validation.num_examples
        write_json(
            folder / _MADE,
            {
                "accuracy": reached,
                "standard_error": standard_error(reached, num_examples),
                "recipe": training.recipe,
                "weights": training.weights,
            },
        )

    def accuracy(self, tokens, max_steps=None, repeat=0):
        from nas_tf.training.train import train

        begin, task, config = time.perf_counter(), self._task, self._config
        inheritable = self._inheritable  # before the session is cleared
        seed = int(np.random.SeedSequence((task.seed, repeat)).generate_state(1)[0]) if repeat else task.seed
        keras = fresh_keras(seed)
        child = build_child(self._space, tokens, task.proxy_scale)
        doing("inheriting")
        inheritance.inherit(child, inheritable, self._counterparts(tokens))
        is_near = self._agreement(child) >= config.near
        recipe = Recipe(
            epochs=config.epochs,
            batch_size=config.batch_size,
            optimizer="adamw",
            learning_rate=config.learning_rate if is_near else config.far_learning_rate,
            batch_norm="frozen" if is_near else "trained",
        )
        trained = train(child, self._lessons, recipe, seed=seed, max_steps=max_steps)
        doing("validating")
        validation = self._validation
        if max_steps:
            validation = Images(validation.images[:_BATCH], validation.labels[:_BATCH])
        answers = self._answers(child, validation.images).mean(axis=1)
        reached = float((answers.argmax(axis=1) == validation.labels).mean())
        del child
        keras.backend.clear_session()
        return dataclasses.replace(
            trained,
            accuracy=reached,
            standard_error=standard_error(reached, validation.num_examples),
            train_seconds=time.perf_counter() - begin,
        )

    @functools.cached_property
    def _images(self):
        return self._task.images.make(self._task.proxy_scale.image_size, self._task.proxy_samples)

    @functools.cached_property
    def _train(self):
        return _in_memory(self._images.train())

    @functools.cached_property
    def _validation(self):
        split, most = _in_memory(self._images.validation()), self._config.validation_samples
        if not most or most >= split.num_examples:
            return split
        chosen = np.sort(np.random.default_rng(self._task.seed).permutation(split.num_examples)[:most])
        return Images(split.images[chosen], split.labels[chosen])

    @functools.cached_property
    def _teacher(self):
        return np.load(self._folder / _TEACHER, allow_pickle=False)

    @functools.cached_property
    def _inheritable(self):
        return inheritance.Parent(read_keras(self._folder / PARENT), scale_pixels(self._examples))

    @functools.cached_property
    def _chosen(self):
        count = self._train.num_examples
        return np.random.default_rng(self._task.seed).permutation(count)[:EXAMPLES]

    @property
    def _examples(self):
        return self._train.images[self._chosen]

    def _agreement(self, child):
        """Returns the share of the examples on which `child` answers like the parent."""
        ours = self._answers(child, self._examples)[:, 0].argmax(axis=1)
        return float((ours == self._teacher[self._chosen, 0].argmax(axis=1)).mean())

    def _answers(self, model, images):
        """Returns probabilities of images and their mirror images, float32 [n, views, classes]."""
        found, ask = [], traced(model)
        for first in range(0, len(images), _BATCH):
            x = scale_pixels(images[first : first + _BATCH])
            views = views_of(x, num_views(self._images))
            found.append(np.stack([ask(view) for view in views], axis=1))
        return np.concatenate(found)

    @functools.cached_property
    def _lessons(self):
        return _Lessons(self)


class _Lessons:
    """A data set whose labels are probabilities: the true class, and what the parent answered."""

    augmentation = "none"  # images are mirrored as they are read

    def __init__(self, judge):
        weight, views = judge._config.teacher_weight, num_views(judge._images)
        images, labels = judge._train.images, judge._train.labels
        self.num_classes = judge._images.num_classes
        truth = np.eye(self.num_classes, dtype=np.float32)[labels][:, None]
        targets = ((1 - weight) * truth + weight * judge._teacher).astype(np.float32)
        count, self._judge = len(images), judge

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
        """The first images alone: the judge looks at all of them, and at their mirror images, itself."""
        validation = self._judge._validation
        return Images(validation.images[:_BATCH], validation.labels[:_BATCH])


def _in_memory(split):
    if isinstance(split, Images):
        return split
    raise UserError(
        f"--judge=inherited keeps its images in memory. Received: {split.num_examples:,} images, which are streamed. "
        "Choose fewer with --proxy_samples, or a smaller --proxy_image_size"
    )
