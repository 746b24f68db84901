"""Do cells that were searched on few classes and small images carry over (NASNet, section 4)?

After one search, eight cells are trained alike on all classes and larger images: the best of the search, random cells,
and others of the search.

python -m benchmarks.cell_transfer --data_dir=cifar10_jpeg.zip --out_dir=runs/transfer

The search sees the first five classes. Every network of the comparison has the multiply-adds of the best one to within
a tenth. Its filters are chosen for that, and cells that no filters fit are passed over. What is finished is kept in
--out_dir: the same command goes on, and several processes may share the networks.
"""

import dataclasses
import json
import os
import pathlib
import zipfile

import numpy as np

from nas_tf import flags
from nas_tf.complexity import mult_adds, num_params
from nas_tf.datasets import Source
from nas_tf.files import write_file
from nas_tf.judges import Task
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.ranking import ranked
from nas_tf.settings import Settings, knob
from nas_tf.training.network import train_network
from nas_tf.training.recipe import ProxyRecipe, Recipe
from nas_tf.trial import UserError
from nasnet_tf.search import Settings as SearchSettings
from nasnet_tf.search import search
from nasnet_tf.spaces.nasnet import SPACE, Scale, build

NUM_CLASSES_SEARCHED = 5
FILTERS = range(16, 84, 4)
WITHIN = 0.1


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob(
        "", "Zip with train/ and test/, each with a folder for each class, as cifar10_jpeg.zip.", path=True
    )
    out_dir: str = knob("runs/transfer", "Folder of the search and of the results.", path=True)
    num_trials: int = knob(30, "Trials of the search.")
    proxy_samples: int = knob(2500, "Images that a child of the search sees.")
    proxy_epochs: int = knob(3, "Epochs of a child of the search.")
    filters: int = knob(32, "Filters, in the first stage, of the best cell's large network.")
    cells: int = knob(2, "Normal cells in each stage of the large networks.")
    image_size: int = knob(64, "Image size of the large networks.")
    num_samples: int = knob(10000, "Images that a large network sees.")
    epochs: int = knob(6, "Epochs of a large network.")
    seeds: tuple[int, ...] = knob((0,), "A large network is trained once for each.")
    num_random: int = knob(4, "Random cells.")
    num_others: int = knob(3, "Other cells of the search, spread over its ranking.")


def first_classes(source, path):
    """Writes the images of the first classes of the zip `source` into the zip `path`, unless that exists."""
    if not pathlib.Path(source).is_file():
        raise UserError(f"Expected the zip of an image folder. Received: --data_dir={source}")
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path.with_suffix(".part"), "w") as smaller:
        images = [name for name in archive.namelist() if name.endswith(".jpg")]
        classes = sorted({name.split("/")[-2] for name in images})[:NUM_CLASSES_SEARCHED]
        for name in images:
            if name.split("/")[-2] in classes:
                smaller.writestr(name, archive.read(name))
    os.replace(path.with_suffix(".part"), path)


def image_folder(validation_fraction=0.04):
    return Part("nas_tf.datasets", "image_folder", {"validation_fraction": validation_fraction})


def run_search(knobs, data):
    settings = SearchSettings(
        run_dir=f"{knobs.out_dir}/search",
        dataset="image_folder",
        data_dir=str(data),
        num_trials=knobs.num_trials,
        proxy_samples=knobs.proxy_samples,
        proxy_cells=1,
        proxy_filters=8,
        deploy_cells=knobs.cells,
        deploy_filters=knobs.filters,
        deploy_image_size=knobs.image_size,
        final_epochs=0,
    )
    proxy = ProxyRecipe(knobs.proxy_epochs, proxy_learning_rate=0.025)
    return search(settings, proxy=proxy, parts={"image_folder": image_folder().settings}), settings, proxy


def choose(knobs, result, settings, proxy, data):
    """Returns a list of the cells to compare, dicts of name, tokens, proxy_accuracy, filters and mult_adds."""
    best = ranked(result.trials, result.goal)
    target = network_mult_adds(knobs, best[0].tokens, knobs.filters)
    chosen = [row("best of the search", best[0].tokens, best[0].measurement.accuracy, knobs.filters, target)]
    wanted = np.linspace(len(best) // 6, len(best) - 1, knobs.num_others).astype(int)
    for rank in wanted:
        trial = next(each for each in best[rank:] + best[:rank][::-1] if fitting(knobs, each.tokens, target))
        name = f"trial {trial.id} of the search"
        if all(each["name"] != name for each in chosen):
            chosen.append(row(name, trial.tokens, trial.measurement.accuracy, *fitting(knobs, trial.tokens, target)))
    scale = Scale(settings.proxy_image_size, NUM_CLASSES_SEARCHED, 1, 8, "cifar", bn_momentum=0.9)
    space = Part("nasnet_tf.spaces", "nasnet")
    images = Source(image_folder(), str(data), seed=0)
    judge = Part("nas_tf.judges", "proxy").make(
        Task(space, images, scale, scale, proxy.recipe, knobs.proxy_samples, seed=0)
    )
    rng, randoms = np.random.default_rng(0), 0
    while randoms < knobs.num_random:
        tokens = tuple(int(rng.integers(count)) for count in SPACE.num_choices)
        fits = fitting(knobs, tokens, target)
        if fits:
            randoms += 1
            chosen.append(row(f"random {randoms}", tokens, judge.accuracy(tokens).accuracy, *fits))
            print(chosen[-1], flush=True)
    return chosen


def row(name, tokens, proxy_accuracy, filters, mult_adds):
    return {
        "name": name,
        "tokens": tokens,
        "proxy_accuracy": proxy_accuracy,
        "filters": filters,
        "mult_adds": mult_adds,
    }


def large_scale(knobs, filters, num_classes=10):
    return Scale(knobs.image_size, num_classes, knobs.cells, filters, "imagenet", bn_momentum=0.9)


def network_mult_adds(knobs, tokens, filters):
    keras = import_keras()
    keras.backend.clear_session()
    return mult_adds(build(SPACE.decode(tokens), large_scale(knobs, filters)))


def fitting(knobs, tokens, target):
    """Returns (filters, multiply-adds) of the network nearest to `target`, or None if no network is within a tenth."""
    # Multiply-adds grow nearly with the square of the filters: a first network shows where to look.
    guess = 32 * (target / network_mult_adds(knobs, tokens, 32)) ** 0.5
    near = sorted(FILTERS, key=lambda filters: abs(filters - guess))[:3]
    counts = {filters: network_mult_adds(knobs, tokens, filters) for filters in near}
    filters = min(near, key=lambda each: abs(counts[each] - target))
    return (filters, counts[filters]) if abs(counts[filters] / target - 1) <= WITHIN else None


def train_large(knobs, cell, seed):
    """Trains a cell's large network and returns a dict of its figures."""
    dataset = Source(image_folder(), knobs.data_dir, seed=0).make(knobs.image_size, knobs.num_samples)
    scale = large_scale(knobs, cell["filters"], dataset.num_classes)
    recipe = Recipe(knobs.epochs, learning_rate=0.025)
    architecture = SPACE.decode(cell["tokens"])
    model, training = train_network(lambda scale: SPACE.build(architecture, scale), scale, dataset, recipe, seed)
    reached = training.accuracy
    return {"test": reached.test, "validation": reached.validation, "num_params": num_params(model)}


def table(knobs, cells, results):
    from scipy.stats import kendalltau

    print(f"\n{'cell':26}{'F':>4}{'madds M':>9}{'params M':>10}{'proxy %':>9}{'test %':>9}  each seed")
    proxies, tests = [], []
    for cell, runs in zip(cells, results):
        accuracies = [100 * run["test"] for run in runs]
        proxies.append(cell["proxy_accuracy"])
        tests.append(float(np.mean(accuracies)))
        print(
            f"{cell['name']:26}{cell['filters']:>4}{cell['mult_adds'] / 1e6:>9.2f}{runs[0]['num_params'] / 1e6:>10.3f}"
            f"{100 * cell['proxy_accuracy']:>9.2f}{tests[-1]:>9.2f}  {' '.join(f'{a:.2f}' for a in accuracies)}"
        )
    tau = kendalltau(proxies, tests)
    print(
        f"Kendall's tau of proxy and large accuracy over {len(cells)} cells: {tau.statistic:.2f} (p = {tau.pvalue:.2f})"
    )


def main():
    knobs = flags.read(Knobs)
    out_dir = pathlib.Path(knobs.out_dir)
    data = out_dir / "first_classes.zip"
    cells_path = out_dir / "cells.json"
    if not cells_path.exists():
        first_classes(knobs.data_dir, data)
        chosen = choose(knobs, *run_search(knobs, data), data)
        write_file(cells_path, json.dumps(chosen, indent=2))
    cells = json.loads(cells_path.read_text())
    for seed in knobs.seeds:
        for number, cell in enumerate(cells):
            path = out_dir / f"cell{number}_seed{seed}.json"
            try:
                path.open("x").close()  # claimed: another process leaves it alone
            except FileExistsError:
                continue
            try:
                write_file(path, json.dumps(train_large(knobs, cell, seed)))
            except BaseException:
                path.unlink()
                raise
            print(cell["name"], seed, path.read_text(), flush=True)
    texts = [[(out_dir / f"cell{n}_seed{seed}.json").read_text() for seed in knobs.seeds] for n in range(len(cells))]
    missing = sum(text == "" for runs in texts for text in runs)
    if missing:
        print(f"Networks that other processes train: {missing}. No table yet. If none does, remove their empty files")
    else:
        table(knobs, cells, [[json.loads(text) for text in runs] for runs in texts])


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
