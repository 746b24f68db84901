"""What drop path does to a small NASNet-A: none, DropPath and ScheduledDropPath, trained alike (NASNet, section 3).

python -m benchmarks.drop_path --data_dir=cifar10_jpeg.zip --out_dir=runs/drop_path

Prints training accuracy (without augmentation), validation accuracy and the gap between them. Finished networks are
kept in --out_dir: the same command goes on, and several processes may share the work.
"""

import dataclasses
import json
import pathlib

import numpy as np

from nas_tf import flags
from nas_tf.datasets import Source
from nas_tf.files import write_file
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.evaluate import evaluate
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import train
from nasnet_tf.published import NASNET_A
from nasnet_tf.spaces.nasnet import Scale, build

VARIANTS = {"none": {}, "DropPath": {"drop_path": "constant"}, "ScheduledDropPath": {"drop_path": "v3"}}


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images, with a folder for each class.", path=True)
    out_dir: str = knob("runs/drop_path", "Folder of the results.", path=True)
    keep: float = knob(0.6, "Probability to keep a path; if it is scheduled, at the end and in the deepest cell.")
    image_size: int = knob(32, "Height and width of the images.")
    cells: int = knob(1, "Normal cells in each stage.")
    filters: int = knob(12, "Filters in the first stage.")
    num_samples: int = knob(2000, "Training images.")
    epochs: int = knob(16, "Epochs.")
    seeds: tuple[int, ...] = knob((0, 1, 2), "Each variant is trained once for each.")


def run(knobs, variant, seed):
    keras = import_keras()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    part = Part("nas_tf.datasets", "image_folder", {"validation_fraction": 0.04})
    dataset = Source(part, knobs.data_dir, seed=0).make(knobs.image_size, knobs.num_samples)
    keep = {} if variant == "none" else {"drop_path_keep": knobs.keep}
    scale = Scale(
        knobs.image_size,
        dataset.num_classes,
        knobs.cells,
        knobs.filters,
        "cifar",
        bn_momentum=0.9,
        **keep,
        **VARIANTS[variant],
    )
    network = build(NASNET_A, scale)
    validation = train(network, dataset, Recipe(knobs.epochs, learning_rate=0.025)).accuracy
    return {"validation": validation, "train": evaluate(network, dataset.train())}


def main():
    knobs = flags.read(Knobs)
    out_dir, unfinished = pathlib.Path(knobs.out_dir), 0
    out_dir.mkdir(parents=True, exist_ok=True)
    for seed in knobs.seeds:
        for variant in VARIANTS:
            path = out_dir / f"{variant}_seed{seed}.json"
            try:
                path.open("x").close()  # claimed: another process leaves it alone
            except FileExistsError:
                continue
            try:
                write_file(path, json.dumps(run(knobs, variant, seed)))
            except BaseException:
                path.unlink()
                raise
            print(variant, seed, path.read_text(), flush=True)
    print(f"\n{'':20}{'train %':>9}{'validation %':>14}{'gap':>7}  validation of each seed")
    for variant in VARIANTS:
        texts = [(out_dir / f"{variant}_seed{seed}.json").read_text() for seed in knobs.seeds]
        runs = [json.loads(text) for text in texts if text]
        unfinished += len(texts) - len(runs)
        if not runs:
            continue
        train_accuracy, validation = (100 * np.array([each[name] for each in runs]) for name in ("train", "validation"))
        print(
            f"{variant:20}{train_accuracy.mean():9.2f}{validation.mean():14.2f}"
            f"{(train_accuracy - validation).mean():7.2f}  {' '.join(f'{each:.2f}' for each in validation)}"
        )
    if unfinished:
        print(f"Networks that other processes train: {unfinished}. If none does, remove their empty files")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
