"""What a user would fine-tune instead of searching: published networks with weights, as large as the target allows.

Every network and width with published weights is timed over a grid of image sizes. The largest size that meets the
target is kept: with the same weights a larger image is more accurate. A classifier in closed form then tells, in one
reading of the images, which of them are worth a training.
"""

import dataclasses
import importlib
import math
import pathlib
import sys
import tempfile

from nas_tf import accuracy
from nas_tf.family import families
from nas_tf.files import read_json, write_json
from nas_tf.quiet import fresh_keras
from nas_tf.reports.numbers import milliseconds
from nas_tf.shipping.turns import write
from nas_tf.training.evaluate import evaluate
from nas_tf.training.head import fit_head
from nas_tf.trial import InfeasibleArchitecture, UserError

LARGEST, SMALLEST = 1.25, 0.5  # times the image size of the networks searched
LEAST_SIZE = 32
_STEP, _ROUNDS = 8, 15
TIMED, _SCREENED = "imports.json", "screened.json"  # what is kept of imports in a folder


@dataclasses.dataclass(frozen=True)
class Import:
    """A published network with weights, at a width and an image size in pixels.

    Attributes:
        name: of the published network.
        width: its width multiplier.
        image_size: height and width of its images in pixels.
        latency_ms: of its float32 file.
        path: of its weights; empty: not fetched yet.
        module: name of the module that builds it (`nas_tf.family.Family.pretrained`).
        screened: validation accuracy with a classifier in closed form; None: not known yet.
    """

    name: str
    width: float
    image_size: int
    latency_ms: float
    module: str
    path: str = ""
    screened: float | None = None

    def __str__(self):
        width = "" if self.width == 1 else f" x {self.width:g}"
        return f"{self.name}{width} at {self.image_size} px"

    @property
    def key(self):
        """str: what its folder is called."""
        return f"{self.name}_{self.width:g}_{self.image_size}"

    def scale(self, num_classes, **settings):
        """Returns its family's `Scale`."""
        scale = importlib.import_module(self.module).Scale
        return scale(self.image_size, num_classes, width_multiplier=self.width, **settings)

    def build(self, scale):
        """Returns the `keras.Model` at a scale, with its weights, as far as they are fetched, and a new classifier."""
        return importlib.import_module(self.module).build(self.name, scale, self.path or None)


def available(names, weights_dir, known, say):
    """Returns a list of `(module, name, width)` of the networks whose weights can be had. Nothing is fetched yet.

    Args:
        names: names of published networks; "all" stands for all of them, "none" for none.
        weights_dir: a folder that holds weights already; empty: none.
        known: names of networks whose weights are at hand anyway.
        say: takes a line that names the networks whose weights cannot be had.

    Raises:
        UserError: no published network with weights has one of the names.
    """
    modules = {}
    for family in families():
        if family.pretrained:
            modules |= dict.fromkeys(importlib.import_module(family.pretrained).NAMES, family.pretrained)
    chosen = tuple(modules) if names == ("all",) else () if names == ("none",) else names
    found, missing = [], {}
    for name in chosen:
        if name not in modules:
            raise UserError(f"Expected --imports, all, none or some of {', '.join(modules)}. Received: {name!r}")
        module = importlib.import_module(modules[name])
        for width in module.widths(name):
            reason = None if width == 1 and name in known else module.why_not(name, width, weights_dir)
            if reason is None:
                found.append((modules[name], name, width))
            else:
                missing.setdefault(name, reason)
    if missing:
        first = next(iter(missing.values()))
        say(f"weights of {', '.join(missing)} cannot be had, so they are not raced: {first}")
    return found


def within_target(workshop, folder, target_ms, networks, turns):
    """Lists an `Import` for each network at the largest image size that meets a target, the others left out.

    Args:
        workshop: the `nas_tf.shipping.candidates.Workshop`.
        folder: keeps the latencies that were measured.
        target_ms: latency in milliseconds; None: every network at the size of the networks searched.
        networks: list of `(module, name, width)`, as `available` returns.
        turns: the `nas_tf.shipping.turns.Turns` by which they are timed.

    Returns:
        `(list of Import, text)`: the text names the fastest that was measured, for a target below it.
    """
    path = pathlib.Path(folder) / TIMED
    latencies, timed, found = read_json(path) or {}, [], []
    scale = workshop.setup.task.deploy_scale
    sizes = [scale.image_size] if target_ms is None else grid(scale.image_size)
    bound_ms = target_ms or sys.float_info.max
    for module, name, width in networks:

        def at(size, module=module, name=name, width=width):
            candidate = Import(name, width, size, math.inf, module)
            if candidate.key not in latencies:
                latencies[candidate.key] = _time(workshop, candidate, scale.num_classes, turns)
                write_json(path, latencies)
            timed.append(dataclasses.replace(candidate, latency_ms=latencies[candidate.key] or math.inf))
            return timed[-1]

        known = {size: latencies.get(Import(name, width, size, math.inf, module).key) for size in sizes}
        best = largest(_possible(sizes, known, bound_ms), lambda size, at=at: at(size).latency_ms <= bound_ms)
        if best is not None:
            found.append(at(best))
            workshop.say(f"{found[-1]}: {milliseconds(found[-1].latency_ms)}")
    fastest = min(timed, key=lambda each: each.latency_ms, default=None)
    words = f"the fastest is {fastest}, {milliseconds(fastest.latency_ms)}" if fastest else "none could be timed"
    return found, words


def forget(folder):
    """Removes what `within_target` and `screen` kept in a folder."""
    for name in (TIMED, _SCREENED):
        (pathlib.Path(folder) / name).unlink(missing_ok=True)


def grid(image_size):
    """Returns the image sizes in pixels at which imports are timed, largest first: steps of 8 pixels.

    With steps of an eighth of the size, an import of 0.81 of the target once raced against networks of 1.00.
    """
    most, least = (max(LEAST_SIZE, round(factor * image_size / _STEP) * _STEP) for factor in (LARGEST, SMALLEST))
    return list(range(most, least - 1, -_STEP))


def _possible(sizes, known, bound_ms):
    """Returns those of `sizes` that may be the largest within a bound, by what is `known` of the latency of some.

    It is all of them where what is known contradicts itself, by chance.
    """
    known = {size: latency for size, latency in known.items() if latency}
    most = min((size for size, latency in known.items() if latency >= bound_ms), default=math.inf)
    least = max((size for size, latency in known.items() if latency <= bound_ms), default=0)
    return [size for size in sizes if least <= size <= most] or sizes


def largest(sizes, fits):
    """Returns the first of `sizes`, largest first, that `fits`, by bisection: a smaller image takes less time.

    It is None if not even the last one does.
    """
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            high = middle
        else:
            low = middle + 1
    return sizes[low] if low < len(sizes) else None


def screen(workshop, folder, candidates, most, weights_dir, known):
    """Returns the `most` imports that are best with a classifier in closed form, best first, one of each network.

    Their weights are fetched now. One whose weights cannot be had after all is left out.

    Args:
        workshop: the `Workshop`.
        folder: keeps the accuracies.
        candidates: list of `Import`.
        most: how many to return.
        weights_dir: a folder that holds weights already; empty: none.
        known: dict from a network's name to the path of its weights, where that is known already.
    """
    path = pathlib.Path(folder) / _SCREENED
    reached, screened = read_json(path) or {}, []
    for each in candidates:
        try:
            module = importlib.import_module(each.module)
            at_hand = known.get(each.name) if each.width == 1 else None
            file = at_hand or str(module.weights_file(each.name, each.width, weights_dir))
        except UserError as error:
            workshop.say(f"{each} is left out: {error}")
            continue
        found = dataclasses.replace(each, path=file)
        if each.key not in reached:
            reached[each.key] = _closed_form(workshop, found)
            write_json(path, reached)
            said = accuracy.text(reached[each.key], workshop.num_validation)
            workshop.say(f"{each}: {said} with a classifier in closed form")
        screened.append(dataclasses.replace(found, screened=reached[each.key]))
    best = {}
    for each in sorted(screened, key=lambda each: (-each.screened, each.latency_ms, each.key)):
        best.setdefault(each.name, each)
    return list(best.values())[:most]


def _closed_form(workshop, candidate):
    keras = fresh_keras(workshop.setup.task.seed)
    dataset = workshop.setup.task.images.make(candidate.image_size, workshop.num_samples)
    model = candidate.build(candidate.scale(dataset.num_classes))
    fit_head(model, dataset.train())
    reached = evaluate(model, dataset.validation())
    del model
    keras.backend.clear_session()
    return reached


def _time(workshop, candidate, num_classes, turns):
    """Returns the latency of an import in milliseconds, or None if the device cannot run it."""
    keras = fresh_keras(workshop.setup.task.seed)
    try:
        model = candidate.build(candidate.scale(num_classes))
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = write(workshop, model, pathlib.Path(folder) / "network.tflite")
            return turns.latencies({"it": path}, most_rounds=_ROUNDS)["it"].latency_ms
    except InfeasibleArchitecture:
        return None
    finally:
        keras.backend.clear_session()
