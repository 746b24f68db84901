"""How long fine-tuning EfficientNet-Lite0 takes, all included, how accurate it is, and what a child of it costs.

python -m benchmarks.finetuning --data_dir=cifar10_jpeg.zip --weights=efficientnet_lite0_imagenet.safetensors

The recipes take turns, a seed each. Then the judge `inherited` fine-tunes the parent and judges children that are a
step from it, as a worker of a search does; the memory is this process's peak.
"""

import dataclasses
import pathlib
import resource
import sys
import tempfile
import time

from mnas_tf.family import FAMILY
from mnas_tf.spaces.mnasnet import Scale
from nas_tf import flags
from nas_tf.accuracy import standard_error
from nas_tf.datasets import Source
from nas_tf.judges import Task
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.network import train_network
from nas_tf.training.recipe import PLANS, Recipe


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images, with a folder for each class.", path=True)
    weights: str = knob("efficientnet_lite0", "The parent, as --parent takes it.", path=True)
    image_size: int = knob(64, "Height and width of the images.", least=1)
    num_samples: int = knob(3000, "Training images of the parent.", least=1)
    validation_fraction: float = knob(0.03, "Share of the images that each training is judged on.", above=0, below=1)
    child_samples: int = knob(1500, "Training images of a child.", least=1)
    recipes: tuple[str, ...] = knob(("finetune", "finetune_quick"), "Recipes to compare.")
    seeds: int = knob(3, "Trainings of each recipe.", least=0)
    children: int = knob(3, "Children to judge, the first warms up.", least=0)


def main():
    knobs = flags.read(Knobs)
    import_keras()
    parent = FAMILY.parent(knobs.weights)
    space = FAMILY.space("mnasnet")
    space = dataclasses.replace(space, settings=space.space.settings_around(parent.architecture))
    settings = {"validation_fraction": knobs.validation_fraction}
    images = Source(Part("nas_tf.datasets", "image_folder", settings), knobs.data_dir, seed=0)
    dataset = images.make(knobs.image_size, knobs.num_samples)
    print(dataset.summary())
    scale = parent.scale(Scale(knobs.image_size, dataset.num_classes, bn_momentum=0.9))
    num_validation = dataset.validation().num_examples

    def build(scale):
        return space.space.build(parent.architecture, scale)

    for seed in range(knobs.seeds):
        for name in knobs.recipes:
            begin = time.perf_counter()
            _, training = train_network(
                build, scale, dataset, PLANS[name].recipe, seed, start=parent.load, progress=f"{name}, seed {seed}"
            )
            reached, seconds = training.accuracy.validation, time.perf_counter() - begin
            error = 100 * standard_error(reached, num_validation)
            print(f"{name}, seed {seed}: {100 * reached:.1f} ± {error:.1f} %, {seconds:.1f} s", flush=True)
    if knobs.children:
        task = Task(
            space=space,
            images=images,
            proxy_scale=dataclasses.replace(scale, dropout_rate=0.0),
            deploy_scale=scale,
            recipe=Recipe(1),
            proxy_samples=knobs.child_samples,
            seed=0,
            published=FAMILY.published,
            parent=knobs.weights,
        )
        _judge(task, parent, knobs.children)
    print(f"command: python -m benchmarks.finetuning {' '.join(sys.argv[1:])}")


def _judge(task, parent, count):
    judge = Part("nas_tf.judges", "inherited").make(task)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        judge.prepare(pathlib.Path(folder) / "judge")
        print(f"preparing: {time.perf_counter() - begin:.1f} s", flush=True)
        space, start = task.space.space, task.space.space.encode(parent.architecture)
        movable = [i for i, choices in enumerate(space.num_choices) if choices > 1]
        for number in range(count):
            tokens, place = list(start), movable[-1 - number]
            tokens[place] = (tokens[place] + 1) % space.num_choices[place]
            found = judge.accuracy(tuple(tokens))
            print(
                f"child with another {space.decisions[place].name}: {100 * found.accuracy:.1f} ± "
                f"{100 * found.standard_error:.1f} %, {found.train_seconds:.1f} s",
                flush=True,
            )
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
