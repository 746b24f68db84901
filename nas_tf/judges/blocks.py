"""The accuracy that an accuracy table gives a network: nothing is trained (`nas_tf.networks.accuracy_table`)."""

import dataclasses
import functools
import importlib
import json
import shutil
import time

from nas_tf.judges import Judge, child_of, repeated_seed
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor, assemble, begin, library_name
from nas_tf.quiet import fresh_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.children import ChildTraining, Trainer, child_scale
from nas_tf.training.train import Trained
from nas_tf.trial import InfeasibleArchitecture, UserError

__all__ = ["BlocksJudge", "Config", "child_scale", "images_facts", "make", "space_settings"]
PREDICTED, EVALUATED, TRAINED = "predicted", "evaluated", "trained"


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Which accuracy table is read, and what of it is the accuracy."""

    table: str = knob(
        "",
        "Accuracy table: a file that nas-table --of=accuracy made.",
        required="the file of an accuracy table",
        path=True,
        decides=False,  # what it holds is part of the judge
    )
    accuracy: str = knob(
        PREDICTED,
        "predicted: what was fitted, microseconds; evaluated: the network as it is put together, seconds; trained: "
        "after its short fine-tuning.",
        choices=(PREDICTED, EVALUATED, TRAINED),
    )


def make(config, task):
    """Returns the `BlocksJudge` of a `nas_tf.judges.Task`."""
    return BlocksJudge(config, task)


def space_settings(config):
    """Returns a dict of the settings of the space for which the table was made: the defaults of a search by it."""
    settings = AccuracyTable.read(config.table).space["settings"]
    return {name: tuple(each) if isinstance(each, list) else each for name, each in settings.items()}


def images_facts(dataset, source, num_samples):
    """Returns a JSON-ready dict of the images that a table is made of."""
    about = dataset.describe()
    return {
        "digest": about.get("digest"),
        "splits": about.get("splits"),
        "fit": about.get("fit"),
        "augmentation": dataset.augmentation,  # which decides the views of an image that are seen
        "class_names": list(dataset.class_names),
        "num_samples": num_samples,
        "seed": source.seed,
        "race_fraction": source.race_fraction,
    }


class BlocksJudge(Judge):
    """The accuracy that an accuracy table gives a network."""

    def __init__(self, config, task):
        self._config, self._task, self._space = config, task, task.space.space

    @functools.cached_property
    def _table(self):
        return AccuracyTable.read(self._config.table)

    @functools.cached_property
    def _predictor(self):
        return Predictor(self._table, self._space)

    @functools.cached_property
    def _parent(self):
        if not self._task.parent:
            raise UserError("--judge=blocks needs --parent, the one of its table. Received: none")
        return importlib.import_module(self._task.published).parent(self._task.parent)

    @functools.cached_property
    def _trainers(self):
        """A `Trainer` for each width's parent, made when it is asked for."""
        task, training = self._task, ChildTraining(**self._table.training)
        parts = self._space, task.images, task.proxy_scale, self._table.images["num_samples"], task.seed

        @functools.cache
        def of(width):
            library = next(each for each in self._table.libraries if each.width == width)
            architecture = self._space.architecture(library.architecture)
            trainer = Trainer(training, *parts, dataclasses.replace(self._parent, architecture=architecture))
            trainer.open(self._table.folder / library_name(width) / "parent")
            return trainer

        return of

    def check(self):
        table, task = self._table, self._task
        if self._parent.digest != table.parent["parent_digest"]:
            raise UserError(
                f"{table.path} is of the parent {table.parent['parent']}, SHA-256 "
                f"{table.parent['parent_digest'][:12]}. Received: --parent={task.parent}, SHA-256 "
                f"{self._parent.digest[:12]}"
            )
        dataset = task.images.make(task.proxy_scale.image_size, task.proxy_samples)
        ours = images_facts(dataset, task.images, task.proxy_samples)
        for name, words in (
            ("class_names", "classes"),
            ("digest", "images (their digest)"),
            ("seed", "--seed, which decides splits"),
            ("race_fraction", "--race_fraction"),
            ("splits", "splits, which are part of what a table is made of,"),
            ("fit", "--image_folder_fit"),
            ("augmentation", "augmentation"),
        ):
            if ours[name] != table.images.get(name):
                raise UserError(
                    f"Expected the {words} of {table.path}: {_short(table.images.get(name))}. Received: "
                    f"{_short(ours[name])}. Make a table of these with nas-table --of=accuracy"
                )
        for flags, theirs, scale in (
            ("proxy", table.scale, task.proxy_scale),
            ("deploy", table.deploy_scale, task.deploy_scale),
        ):
            ours = json.loads(json.dumps(dataclasses.asdict(scale)))
            for name, value in theirs.items():
                if ours.get(name) != value and name != "dropout_rate":
                    raise UserError(f"{table.path} was made for --{flags}_{name}={value}. Received: {ours.get(name)}")
        if not any(all(costs) for *_, costs in self._predictor.parts()):
            raise UserError(
                f"{table.path} has no network of search space {self._space.name!r} as it is set here. Leave its "
                "settings out: they are the table's"
            )

    def describe(self):
        return {
            "judge": "blocks",
            **self._parent.facts(),
            "accuracy": self._config.accuracy,
            "table": self._table.digest,
        }

    def prepare(self, folder):
        """Copies the parent, which nas-ship takes for a teacher, into the run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        source = self._table.folder / library_name(1.0) / "parent"
        for name in ("parent.keras", "teacher.npy", "parent.json"):
            if not (folder / name).exists():
                partial = folder / f"{name}.partial"
                try:
                    shutil.copyfile(source / name, partial)
                except OSError as error:
                    raise UserError(
                        f"Expected the parent of {self._table.path} in {source}. Received: {error}"
                    ) from error
                partial.replace(folder / name)

    @property
    def rung_works(self):
        """tuple of float: predicted, then trained, where the latter is asked for."""
        return (0.01, 1.0) if self._config.accuracy == TRAINED else (1.0,)

    def accuracy(self, tokens, max_steps=None, repeat=0, rung=None):
        begin_seconds, architecture = time.perf_counter(), self._space.decode(tokens)
        try:
            reached = self._predictor.accuracy(architecture)
        except KeyError as error:
            raise InfeasibleArchitecture(f"{self._table.path} cannot judge it: it has no {error.args[0]}") from error
        if self._config.accuracy == PREDICTED or rung == 0:
            return Trained(reached, time.perf_counter() - begin_seconds, 0.0, 0.0, 0)
        task, seed = self._task, repeated_seed(self._task.seed, repeat)
        trainer = self._trainers(self._predictor.library(architecture).width)
        architecture = child_of(task, tokens)
        image_size = self._space.scale_of(architecture, task.proxy_scale).image_size
        keras = fresh_keras(seed)
        child = assemble(self._table, self._space, architecture, task.proxy_scale)
        if self._config.accuracy == TRAINED:
            trained = trainer.train(child, image_size, seed, max_steps)
        else:
            reached, error = trainer.judged(child, image_size, max_steps and max_steps * 8)
            trained = Trained(reached, 0.0, 0.0, 0.0, 0, standard_error=error)
        del child
        keras.backend.clear_session()
        return dataclasses.replace(trained, train_seconds=time.perf_counter() - begin_seconds)

    def start(self, architecture):
        return functools.partial(begin, self._table, self._space, architecture)


def _short(value):
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
