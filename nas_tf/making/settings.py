"""What nas-make is asked for, and the defaults that follow from the images."""

import dataclasses
import os
import pathlib

from nas_tf.family import families
from nas_tf.rewards import Limits, Objective
from nas_tf.search.request import make_request
from nas_tf.search.settings import ALGORITHMS, DATASETS, DEVICES, JUDGES, WORKERS
from nas_tf.settings import RUN, Settings, knob
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import UserError

SHIP = "ship"  # in a job's folder: the race
NETWORK = pathlib.Path(SHIP) / "network"  # what ships
LEFT_OUT = ("run_dir", "max_hours", "final_epochs", "final_samples")  # of a search's settings: the job's own
_SIZES = 64, 224  # of the network that ships, in pixels, whatever the images are
_STEP = 32
_CHILD = 0.6  # of that size, for children
_CHILD_STEP, _LEAST_CHILD = 8, 32
_CHILD_SAMPLES = 1000
_WORKER_SHARE = 0.4  # of the memory, for all workers together


@dataclasses.dataclass(frozen=True)
class Preset:
    """How much is done at most, where there is time for it.

    Attributes:
        hours: of a job that is given none.
        imports: names of the published networks that are timed; empty: all.
        num_imports: how many of these are fine-tuned.
        epochs: of every training.
        tries, seeds, top_k: `tries`, `race_seeds` and `top_k` of `nas_tf.shipping.settings.ShipSettings`.
    """

    hours: float
    imports: tuple[str, ...]
    num_imports: int
    epochs: int
    tries: int
    seeds: int
    top_k: int


_QUICK = ("mobilenet_v3_small", "mobilenet_v4_conv_s", "efficientnet_lite0")
_NORMAL = (*_QUICK, "mobilenet_v2", "mobilenet_v3_large", "efficientnet_lite1", "efficientnet_lite2")
PRESETS = {
    "quick": Preset(0.5, _QUICK, num_imports=1, epochs=3, tries=1, seeds=1, top_k=2),
    "normal": Preset(1.0, _NORMAL, num_imports=3, epochs=3, tries=2, seeds=2, top_k=3),
    "long": Preset(12.0, (), num_imports=3, epochs=3, tries=2, seeds=3, top_k=5),
}


@dataclasses.dataclass(frozen=True)
class MakeSettings(Settings):
    """The settings of nas-make itself. Those of a search decide the rest, where they are given."""

    hours: float | None = knob(
        None,
        "Hours for everything, over all sessions; default: "
        + ", ".join(f"{preset.hours:g} for {name}" for name, preset in PRESETS.items())
        + ".",
        above=0,
        group=RUN,
    )
    preset: str = knob(
        "normal",
        "How much is tried at most: published networks, trainings of each, seeds and finalists.",
        choices=tuple(PRESETS),
        group=RUN,
    )
    search: str = knob(
        "descendants",
        "What is searched once the best published network is fine-tuned: networks that begin with its weights, tried "
        "one by one; the exact best of these by an accuracy and a latency table, where there is time for both; none.",
        choices=("descendants", "tables", "none"),
        group=RUN,
    )
    imports: tuple[str, ...] = knob(
        (), "Published networks that are timed, fine-tuned and raced, by name, or all; default: by --preset.", group=RUN
    )
    weights_dir: str = knob(
        "", "Folder with published weights, used before any are fetched (docs/training.md).", path=True, group=RUN
    )
    out_dir: str = knob(
        "",
        "Folder to write, a run's folder; empty: runs/NAME, with the name of the images.",
        path=True,
        group=RUN,
    )

    @property
    def chosen(self):
        """The `Preset` with the hours and the imports that are asked for."""
        preset = PRESETS[self.preset]
        return dataclasses.replace(preset, hours=self.hours or preset.hours, imports=self.imports or preset.imports)


@dataclasses.dataclass(frozen=True)
class Asked:
    """All that a job is asked for.

    Attributes:
        images: the folder or zip; empty where `search` names another data set.
        settings: the `MakeSettings`.
        search: dict of those settings of the family's search that are given.
        target: dict of the settings of `nas_tf.rewards.Objective` that are given.
        limits, proxy: `nas_tf.rewards.Limits` and `nas_tf.training.recipe.ProxyRecipe`.
        parts: dict from the name of a part to the dict of its settings.
    """

    images: str
    settings: MakeSettings = dataclasses.field(default_factory=MakeSettings)
    search: dict = dataclasses.field(default_factory=dict)
    target: dict = dataclasses.field(default_factory=dict)
    limits: Limits = dataclasses.field(default_factory=Limits)
    proxy: ProxyRecipe = dataclasses.field(default_factory=ProxyRecipe)
    parts: dict = dataclasses.field(default_factory=dict)

    @property
    def objective(self):
        """The `nas_tf.rewards.Objective`."""
        return Objective(**self.target)

    @property
    def is_without_target(self):
        """bool: whether networks are held to no latency but that of the best published network."""
        return not any(self.target.get(name) for name in ("target_latency_ms", "target_latency_of"))

    @property
    def out_dir(self):
        """`pathlib.Path` of the folder to write."""
        return pathlib.Path(self.settings.out_dir or pathlib.Path("runs") / (self._name or "made"))

    @property
    def _name(self):
        path = pathlib.Path(os.path.expanduser(self.images or self.search.get("data_dir") or ""))
        return path.stem or self.search.get("dataset", "")

    def search_settings(self, **more):
        """Returns the family's search settings: those given, those of the job, and `more` for what is left open."""
        family, given = family_with_weights(), dict(self.search)
        if self.images:
            given["data_dir"] = self.images
        own = {
            "run_dir": str(self.out_dir),
            "final_epochs": 0,
            "num_trials": 0,
            "max_hours": self.settings.chosen.hours,
        }
        return family.search_settings(**{**own, **more, **given})

    def request(self, settings, target_ms=None, **known):
        """Returns the `nas_tf.search.request.Request` of the job's search, as far as it is known by now.

        Args:
            settings: of the search, as `search_settings` returns them.
            target_ms: latency that networks are held to, or None for the target that is asked for.
            known: settings of the search that the job has found out.
        """
        given = {name: self.search.get(name, "") for name in ("judge", "algorithm")}  # else as suits the parent
        settings = dataclasses.replace(settings, **known, **given)
        objective = self.objective
        if target_ms:
            objective = dataclasses.replace(objective, target_latency_ms=target_ms)
        request = make_request(family_with_weights(), settings, objective, self.limits, self.proxy, self.parts)
        parent = request.setup.parent()
        beside = {self.objective.target_latency_of, *(request.setup.published_parent() if parent else ())}
        return dataclasses.replace(request, published=tuple(sorted(beside)))


def family_with_weights():
    """Returns the first installed `nas_tf.family.Family` that has published weights.

    Raises:
        UserError: there is none.
    """
    for family in families():
        if family.pretrained:
            return family
    raise UserError("Expected an installed family of networks with published weights. There is none")


def folders():
    """Returns a list of the plug-in folders whose parts a job may choose, the family's spaces first."""
    return [family_with_weights().space_folder, DATASETS, JUDGES, DEVICES, ALGORITHMS, WORKERS]


def defaults(dataset, given):
    """Returns a dict from setting to `(value, reason)` of what the images say about a search of them.

    Args:
        dataset: `nas_tf.datasets.Dataset` of the images, at any size.
        given: dict of the settings that are given.
    """
    import psutil

    side, (least, most) = dataset.median_side, _SIZES
    if side is None:
        size, why = most, f"the size of the images is not known, and published networks are of {most} px"
    else:
        size = min(most, max(least, side // _STEP * _STEP))
        why = f"the median image is of {side} px"
    size = given.get("deploy_image_size", size)
    child = max(_LEAST_CHILD, round(_CHILD * size / _CHILD_STEP) * _CHILD_STEP)
    samples = dataset.describe()["num_examples"]["train"]
    workers = min(8, os.cpu_count() or 1)
    memory_mb = round(_WORKER_SHARE * psutil.virtual_memory().total / 2**20 / workers)
    found = {
        "deploy_image_size": (size, why),
        "proxy_image_size": (child, f"children see images of {_CHILD:g} of that size"),
        "worker_memory_mb": (max(1400, memory_mb), f"{_WORKER_SHARE:g} of the memory for {workers} workers"),
    }
    if samples > _CHILD_SAMPLES:
        found["proxy_samples"] = (_CHILD_SAMPLES, f"of {samples:,} training images, which is enough to rank networks")
    return {name: value for name, value in found.items() if name not in given}
