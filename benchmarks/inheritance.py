"""How accurate children of a fine-tuned EfficientNet-Lite0 are that begin with its weights: at once, after an epoch.

python -m benchmarks.inheritance --data_dir=cifar10_jpeg.zip --weights=efficientnet_lite0_imagenet.safetensors

A parent with ImageNet weights has a head fitted in closed form and is fine-tuned for three epochs, batch norm frozen.
It is kept in --parent. A child's epoch is on 0.3 labels + 0.7 parent's answers, once with batch norm frozen and AdamW
3e-4, once with it trained and AdamW 1e-3. "Naive" children have the hidden channels of the largest gamma x L1 of the
projection and the centre of a kernel; those that move further from the parent have none.
"""

import dataclasses
import pathlib
import sys
import time

import numpy as np

from mnas_tf import _pytorch_weights
from mnas_tf.spaces.mnasnet import MnasNet, MnasNetSpace, Scale
from nas_tf import flags
from nas_tf.complexity import mult_adds
from nas_tf.datasets import Source, drawn, scale_pixels
from nas_tf.networks import _least_squares, inheritance
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob

LITE0 = MnasNet.parse(
    "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r2_k5_s22_e6_i24_o40 r3_k3_s22_e6_i40_o80 r3_k5_s11_e6_i80_o112 "
    "r4_k5_s22_e6_i112_o192 r1_k3_s11_e6_i192_o320"
)
SPACE = MnasNetSpace(base="efficientnet_lite0")
NEAR = {
    "one layer fewer in block 6": {6: {"repeats": 3}},
    "3 x 3 for 5 x 5 in blocks 3, 5": {number: {"kernel_size": 3} for number in (3, 5)},
    "expansion 3 in blocks 4 to 6": {number: {"expansion_ratio": 3} for number in (4, 5, 6)},
    "two layers in blocks 4 to 6": {number: {"repeats": 2} for number in (4, 5, 6)},
}


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images, with a folder for each class.", path=True)
    weights: str = knob("", "ImageNet weights of EfficientNet-Lite0 under timm's names, safetensors.", path=True)
    parent: str = knob("runs/inheritance/parent.weights.h5", "The fine-tuned parent, made if it is missing.", path=True)
    image_size: int = knob(64, "Height and width of the images.", least=1)
    num_samples: int = knob(3000, "Training images.", least=1)
    num_validation: int = knob(1500, "Validation images.", least=1)
    num_inherit: int = knob(128, "Training images that children inherit by.", least=1)
    random_changes: tuple[int, ...] = knob((4, 4, 8, 8, 16, 16), "Answers drawn anew, a child for each number.")
    train: bool = knob(True, "Whether children are trained for an epoch.", choices=(True, False))
    seed: int = knob(0, "Of random children, of the order of images and of initial weights.")


def in_batches(function, pixels):
    parts = [function(scale_pixels(pixels[first : first + 250])) for first in range(0, len(pixels), 250)]
    return np.concatenate([np.asarray(part) for part in parts])


def accuracy(network, split):
    return float((in_batches(network, split.images).argmax(1) == split.labels).mean())


def fine_tune(network, images, targets, epochs, learning_rate, trains_norms):
    """AdamW with a cosine and warm-up, batches of 32, flips."""
    import keras

    for layer in network.layers:
        layer.trainable = trains_norms or not isinstance(layer, keras.layers.BatchNormalization)
    image = keras.Input(images.shape[1:])
    model = keras.Model(image, network(keras.layers.RandomFlip("horizontal")(image)))
    steps = epochs * -(-len(images) // 32)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10, steps - steps // 10, warmup_target=learning_rate, warmup_steps=max(1, steps // 10)
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    model.compile(optimizer, "categorical_crossentropy", jit_compile=False)
    model.fit(scale_pixels(images), targets, batch_size=32, epochs=epochs, verbose=0)


def fitted_parent(knobs, scale, split):
    """Returns the parent with a head in closed form and three epochs; reads or writes --parent."""
    import keras

    parent, path = SPACE.build(LITE0, scale), pathlib.Path(knobs.parent)
    if path.exists():
        parent.load_weights(path)
        return parent
    values = _pytorch_weights.read(SPACE.build(LITE0, _pytorch_weights.scale_for(scale)), knobs.weights)
    for name in values.keys() - {"predictions"}:
        parent.get_layer(name).set_weights(values[name])
    features = in_batches(keras.Model(parent.input, parent.get_layer("mean").output), split.images)
    labels = np.eye(scale.num_classes)[split.labels]
    mean = features.mean(0)
    head = _least_squares.correction(features - mean, 10 * (labels - labels.mean(0)), 1.0)
    parent.get_layer("predictions").set_weights([head, -mean @ head])
    fine_tune(parent, split.images, labels, 3, 3e-4, trains_norms=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    parent.save_weights(path)
    return parent


def naive(network, parent):
    """Sets the weights of a child whose filters are the parent's in the naive way."""
    ours, theirs = ({layer.name: layer for layer in each.layers if layer.weights} for each in (network, parent))
    for name, layer in ours.items():
        values, unit = theirs[name].get_weights(), name.rpartition("_")[0].rpartition("_")[0]
        if f"{unit}_expand_conv" in ours:
            outgoing = np.abs(theirs[f"{unit}_project_conv"].get_weights()[0]).sum((0, 1, 3))
            importance = outgoing * np.abs(theirs[f"{unit}_depthwise_bn"].get_weights()[0])
            keep = np.sort(np.argsort(-importance)[: ours[f"{unit}_depthwise_conv"].kernel.shape[2]])
            if name.endswith("_project_conv"):
                values = [values[0][:, :, keep]]
            elif name.endswith("_depthwise_conv"):
                border = (len(values[0]) - layer.kernel_size[0]) // 2
                taps = slice(border, border + layer.kernel_size[0])
                values = [values[0][taps, taps, keep]]
            elif not name.endswith("_project_bn"):
                values = [each[..., keep] for each in values]
        layer.set_weights(values)


def children(knobs):
    """Yields `(name, architecture, whether the naive way knows it)`."""
    for name, changes in NEAR.items():
        blocks = (dataclasses.replace(b, **changes.get(number, {})) for number, b in enumerate(LITE0.blocks, 1))
        yield name, MnasNet(tuple(blocks)), True
    random, parent = np.random.default_rng(knobs.seed), SPACE.encode(LITE0)
    for count in knobs.random_changes:
        tokens = list(parent)
        for i in random.choice(len(tokens), count, replace=False):
            tokens[i] = int(random.integers(SPACE.num_choices[i]))
        yield f"{count} answers drawn anew", SPACE.decode(tuple(tokens)), False


def main():
    knobs = flags.read(Knobs)
    keras = import_keras()
    keras.utils.set_random_seed(knobs.seed)
    part = Part("nas_tf.datasets", "image_folder", {"validation_fraction": 0.04})
    dataset = Source(part, knobs.data_dir, seed=0).make(knobs.image_size, knobs.num_samples)
    train, validation = dataset.train(), dataset.validation()
    validation = drawn(validation, knobs.num_validation)
    scale = Scale(knobs.image_size, dataset.num_classes, activation="relu6", bn_momentum=0.9)
    model = fitted_parent(knobs, scale, train)
    targets = 0.3 * np.eye(dataset.num_classes)[train.labels] + 0.7 * in_batches(model, train.images)
    print(
        f"parent: {mult_adds(model) / 1e6:.1f} M multiply-adds, {100 * accuracy(model, validation):.1f} %", flush=True
    )
    print(f"{'child':32}{'M':>6}{'naive':>7}{'inherited':>11}{'s':>6}{'frozen':>8}{'trained':>9}")
    parent = inheritance.Parent(model, scale_pixels(drawn(train, knobs.num_inherit).images))
    for name, architecture, is_near in children(knobs):
        network, figures = SPACE.build(architecture, scale), []
        if is_near:
            naive(network, model)
            figures.append(f"{100 * accuracy(network, validation):7.1f}")
        begin = time.perf_counter()
        said = inheritance.inherit(network, parent, SPACE.counterparts(architecture, LITE0))
        seconds = time.perf_counter() - begin
        values = network.get_weights()
        figures += [f"{100 * accuracy(network, validation):{11 if is_near else 18}.1f}", f"{seconds:6.1f}"]
        for trains_norms, rate, width in ((False, 3e-4, 8), (True, 1e-3, 9)) if knobs.train else ():
            network.set_weights(values)
            fine_tune(network, train.images, targets, 1, rate, trains_norms)
            figures.append(f"{100 * accuracy(network, validation):{width}.1f}")
        print(f"{name:32}{mult_adds(network) / 1e6:6.1f}{''.join(figures)}", flush=True)
        if not is_near:
            print(f"    {architecture}: {said}", flush=True)
        keras.backend.clear_session()
    print(f"command: python -m benchmarks.inheritance {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
