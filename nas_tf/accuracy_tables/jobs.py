"""What the making of an accuracy table does in other processes: the parent, groups of blocks, whole networks."""

import dataclasses
import importlib

import numpy as np

from nas_tf.accuracy_tables import repair
from nas_tf.accuracy_tables.repair import Maps
from nas_tf.datasets import scale_pixels
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks import inheritance
from nas_tf.networks.parent import ParentNetwork
from nas_tf.quiet import fresh_keras
from nas_tf.training.children import Trainer
from nas_tf.training.evaluate import traced
from nas_tf.trial import InfeasibleArchitecture

_MOST_MAP_BYTES = 400e6  # of a block's maps in memory
_LEAST_IMAGES = 200  # of which maps are kept, whatever they take
_TESTED_SHARE, _LEAST_TESTED = 0.1, 50


def published(plan):
    return importlib.import_module(plan.published).parent(plan.parent)


def parent_at(plan, width):
    """Returns the architecture of the parent of a width."""
    architecture = published(plan).architecture
    return architecture if width == 1.0 else plan.space.space.slimmed(architecture, width)


def trainer_of(plan, folder, width):
    """Returns the `Trainer` of a width's parent. One of another width begins with the weights of the first."""
    parent, space = published(plan), plan.space.space
    if width != 1.0:
        whole = trainer_of(plan, folder, 1.0)
        whole.open(folder / tables.library_name(1.0) / "parent")
        architecture = space.slimmed(parent.architecture, width)

        def load(model):
            counterparts = space.counterparts(architecture, parent.architecture)
            return f"{parent.name}, {inheritance.inherit(model, whole.inheritable(), counterparts)}"

        parent = ParentNetwork(f"{parent.name} x {width:g}", architecture, parent.style, parent.digest, load)
    return Trainer(plan.training, space, plan.images, plan.scale, plan.num_samples, plan.seed, parent)


_open = []  # what a process has made last: (what it was asked for, the `Trainer`)


def opened(plan, folder, width):
    """Returns the `Trainer` of a width's parent, which is fine-tuned; the same one as long as a process asks for it."""
    asked = plan, folder, width
    if not _open or _open[0][0] != asked:
        trainer = trainer_of(*asked)
        trainer.open(folder / tables.library_name(width) / "parent")
        _open[:] = [(asked, trainer)]
    return _open[0][1]


def prepare(plan, folder, width):
    """Fine-tunes the parent of a width, unless that was done."""
    trainer = trainer_of(plan, folder, width)
    asked = {"parent": trainer.parent.name, "scale": dataclasses.asdict(plan.scale), "seed": plan.seed}
    trainer.prepare(folder / tables.library_name(width) / "parent", asked)


def repair_group(plan, folder, width, number, group):
    """Repairs some of what may stand in the place of a block, and keeps the weights.

    Returns:
        A list of JSON-ready dicts, one for each.
    """
    trainer, space = opened(plan, folder, width), plan.space.space
    inheritable = trainer.inheritable()
    rest, maps, answers = _maps(trainer, number, plan.space.space)
    import keras

    parent, found = trainer.parent.architecture, []
    own = list(space.blocks(parent))
    for block in group:
        line = {"block": number, "text": str(block), "failure": None}
        changed = space.assembled(parent, [*own[: number - 1], block, *own[number:]])
        counterparts = trainer.counterparts(changed)
        first = next(i for i, each in enumerate(counterparts) if each.name.startswith(f"block{number}_"))
        ours = [each for each in counterparts[first:] if each.name.startswith(f"block{number}_")]
        keras.utils.set_random_seed(plan.seed)  # what is new in it begins at random
        model = space.build_block(changed, number, plan.scale)
        inheritance.inherit_block(model, inheritable, ours, counterparts[first - 1].target)
        states = {"inherited": (model.get_weights(), *_judged(model, maps, rest, answers))}
        repair.repaired(model, maps, plan.thoroughness, plan.seed)
        states["repaired"] = model.get_weights(), *_judged(model, maps, rest, answers)
        states = {name: each for name, each in states.items() if all(map(np.isfinite, each[1:]))}
        if not states:
            found.append({**line, "failure": "it diverged"})
            continue
        kept = min(states, key=lambda name: states[name][2])
        model.set_weights(states[kept][0])
        file = f"block{number}_{block}.npz"
        tables.write_block(folder / tables.library_name(width) / file, model)
        figures = {name: {"loss": each[1], "divergence": each[2]} for name, each in states.items()}
        found.append({**line, "kept": kept, "file": file, **figures[kept], "both": figures})
    return found


def _judged(model, maps, rest, answers):
    """Returns the loss of a block on the tested images, and the divergence of the answers of the network with it."""
    given = repair.outputs(traced(model), maps.tested[0])
    return repair.loss(given, maps), repair.divergence(answers, repair.outputs(rest, given))


def _maps(trainer, number, space):
    """Returns what is behind a block, traced; the block's `Maps`; and the parent's answers to the tested images."""
    import keras

    network = inheritance.Network(trainer.read_parent())
    names = list(network.units)
    last = max(i for i, name in enumerate(names) if name.startswith(f"block{number}_"))
    first = min(i for i, name in enumerate(names) if name.startswith(f"block{number}_"))
    before, behind = (network.units[names[i]].output for i in (first - 1, last))
    pixels = trainer.images().train.images
    values = int(np.prod(before.shape[1:]) + np.prod(behind.shape[1:]))
    most = max(_LEAST_IMAGES, int(_MOST_MAP_BYTES / (2 * values)))
    chosen = np.random.default_rng(0).permutation(len(pixels))[:most]
    ask = keras.Model(network.model.inputs[0], [before, behind])
    ask.compile(jit_compile=False)
    inputs, outputs = (np.empty((len(chosen), *each.shape[1:]), "float16") for each in (before, behind))
    for start in range(0, len(chosen), 64):
        part = slice(start, start + 64)
        inputs[part], outputs[part] = ask.predict_on_batch(scale_pixels(pixels[chosen[part]]))
    num_tested = min(len(chosen) // 4, max(_LEAST_TESTED, int(_TESTED_SHARE * len(chosen))))
    maps, rest = Maps.of(inputs, outputs, num_tested), traced(keras.Model(behind, network.model.outputs[0]))
    return rest, maps, repair.outputs(rest, maps.tested[1])


def train_network(plan, table, architecture):
    """Puts a network of repaired blocks together, trains it briefly, and returns a JSON-ready dict of its figures.

    Its `failure` is None, or says how the network diverged.
    """
    library = table.libraries[0]
    trainer = opened(plan, table.folder, library.width)
    space = plan.space.space
    architecture = space.child(architecture, plan.scale, plan.deploy_scale)
    image_size = space.scale_of(architecture, plan.scale).image_size
    keras = fresh_keras(plan.seed)
    model = tables.assemble(table, space, architecture, plan.scale)
    put_together = trainer.judged(model, image_size)[0]
    try:
        trained = trainer.train(model, image_size, plan.seed)
    except InfeasibleArchitecture as error:
        return {"failure": str(error), "put_together": put_together}
    num_images = trainer.images(image_size).validation.num_examples
    del model
    keras.backend.clear_session()
    return {
        "failure": None,
        "accuracy": trained.accuracy,
        "put_together": put_together,
        "num_images": num_images,
        "seconds": trained.train_seconds,
    }
