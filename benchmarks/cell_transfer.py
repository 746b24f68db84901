"""Do cells that were searched on few classes and small images carry over (NASNet, section 4)?

python -m benchmarks.cell_transfer --data_dir=cifar10_jpeg.zip --transfer_dir=clothing.zip --out_dir=runs/transfer

Several searches, which differ in their seed, see the first five classes of small images. The best cell of each is
stacked wider and deeper for other, larger images, beside as many random cells. Filters are those that bring a network
nearest to the multiply-adds of the first one; random cells that none bring to within a tenth are passed over. They are
trained alike, and tested on test and validation images, as nothing is chosen by either. Said are means with 95 %
intervals over cells, and how often cells that were shuffled differ by as much (a permutation test). What is finished is
kept in --out_dir: the same command goes on, and several processes may share the networks.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import zipfile

import numpy as np

from nas_tf import flags
from nas_tf.complexity import mult_adds, num_params
from nas_tf.datasets import Source
from nas_tf.files import write_file
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.shipping.race import answered_right
from nas_tf.training.network import train_network
from nas_tf.training.recipe import ProxyRecipe, Recipe
from nas_tf.trial import UserError
from nasnet_tf.search import Settings as SearchSettings
from nasnet_tf.search import search
from nasnet_tf.spaces.nasnet import SPACE, Scale, build

NUM_CLASSES_SEARCHED = 5
FILTERS = range(16, 84, 4)
WITHIN = 0.1
_MOST_DRAWN = 100  # random cells, until enough fit


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob(
        "", "Zip with train/ and test/, each with a folder for each class, as cifar10_jpeg.zip.", path=True
    )
    transfer_dir: str = knob("", "Folder or zip of the images that cells are carried to.", path=True)
    out_dir: str = knob("runs/transfer", "Folder of the searches and of the results.", path=True)
    algorithm: str = knob("ppo", "The search algorithm.")
    num_searches: int = knob(5, "Searches, and random cells.", least=2)
    num_trials: int = knob(30, "Trials of a search.", least=1)
    proxy_samples: int = knob(2500, "Images that a child of the search sees.", least=1)
    proxy_epochs: int = knob(3, "Epochs of a child of the search.", least=1)
    filters: int = knob(32, "Filters, in the first stage, of the first cell's large network.", least=1)
    cells: int = knob(2, "Normal cells in each stage of the large networks.", least=1)
    image_size: int = knob(96, "Image size of the large networks.", least=1)
    epochs: int = knob(20, "Epochs of a large network.", least=1)
    seeds: tuple[int, ...] = knob((0,), "A large network is trained once for each.")


def main():
    knobs = flags.read(Knobs)
    out_dir = pathlib.Path(knobs.out_dir)
    data, cells_path = out_dir / "first_classes.zip", out_dir / "cells.json"
    if not cells_path.exists():
        first_classes(knobs.data_dir, data)
        write_file(cells_path, json.dumps(choose(knobs, data), indent=2))
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
                path.unlink(missing_ok=True)
                raise
            print(cell["name"], seed, path.read_text(), flush=True)
    texts = [[(out_dir / f"cell{n}_seed{seed}.json").read_text() for seed in knobs.seeds] for n in range(len(cells))]
    missing = sum(text == "" for runs in texts for text in runs)
    if missing:
        print(f"Networks that other processes train: {missing}. No table yet. If none does, remove their empty files")
    else:
        table(cells, [[json.loads(text) for text in runs] for runs in texts])


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


def choose(knobs, data):
    """Returns a list of the cells to compare, dicts of name, tokens, proxy_accuracy, filters and mult_adds."""
    chosen, target = [], None
    for seed in range(knobs.num_searches):
        best = run_search(knobs, data, seed).best
        target = target or network_mult_adds(knobs, best.tokens, knobs.filters)
        filters, count = nearest(knobs, best.tokens, target)
        chosen.append(row(f"best of search {seed + 1}", best.tokens, best.measurement.accuracy, filters, count))
    rng = np.random.default_rng(0)
    for _ in range(_MOST_DRAWN):
        tokens = tuple(int(rng.integers(count)) for count in SPACE.num_choices)
        filters, count = nearest(knobs, tokens, target)
        if abs(count / target - 1) <= WITHIN:
            chosen.append(row(f"random {len(chosen) - knobs.num_searches + 1}", tokens, None, filters, count))
        if len(chosen) == 2 * knobs.num_searches:
            return chosen
    raise SystemExit(f"fewer than {knobs.num_searches} of {_MOST_DRAWN} random cells fit {target / 1e6:.1f} M")


def run_search(knobs, data, seed):
    settings = SearchSettings(
        run_dir=f"{knobs.out_dir}/search_{seed + 1}",
        dataset="image_folder",
        data_dir=str(data),
        algorithm=knobs.algorithm,
        device="none",
        num_trials=knobs.num_trials,
        proxy_samples=knobs.proxy_samples,
        proxy_cells=1,
        proxy_filters=8,
        deploy_cells=knobs.cells,
        deploy_filters=knobs.filters,
        deploy_image_size=knobs.image_size,
        final_epochs=0,
        seed=seed,
    )
    proxy = ProxyRecipe(knobs.proxy_epochs, proxy_learning_rate=0.025)
    return search(settings, proxy=proxy, parts={"image_folder": {"validation_fraction": 0.04}})


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


def nearest(knobs, tokens, target):
    """Returns filters and multiply-adds of the network of a cell that is nearest to `target` multiply-adds."""
    # Multiply-adds grow nearly with the square of the filters: a first network shows where to look.
    guess = 32 * (target / network_mult_adds(knobs, tokens, 32)) ** 0.5
    near = sorted(FILTERS, key=lambda filters: abs(filters - guess))[:3]
    counts = {filters: network_mult_adds(knobs, tokens, filters) for filters in near}
    filters = min(near, key=lambda each: abs(counts[each] - target))
    return filters, counts[filters]


def train_large(knobs, cell, seed):
    """Trains a cell's large network and returns a dict of its figures."""
    part = Part("nas_tf.datasets", "image_folder")
    dataset = Source(part, knobs.transfer_dir or knobs.data_dir, seed=0).make(knobs.image_size, 0)
    scale = large_scale(knobs, cell["filters"], dataset.num_classes)
    recipe = Recipe(knobs.epochs, learning_rate=0.025)
    architecture = SPACE.decode(cell["tokens"])
    model, _ = train_network(lambda scale: SPACE.build(architecture, scale), scale, dataset, recipe, seed)
    right = np.concatenate([answered_right(model, split) for split in (dataset.test(), dataset.validation())])
    return {"test": float(right.mean()), "num_images": len(right), "num_params": num_params(model)}


def table(cells, results):
    print(f"\n{'cell':20}{'F':>4}{'madds M':>9}{'params M':>10}{'proxy %':>9}{'test %':>9}  each seed")
    tests = []
    for cell, runs in zip(cells, results):
        accuracies = [100 * run["test"] for run in runs]
        tests.append(float(np.mean(accuracies)))
        proxy = "" if cell["proxy_accuracy"] is None else f"{100 * cell['proxy_accuracy']:.2f}"
        print(
            f"{cell['name']:20}{cell['filters']:>4}{cell['mult_adds'] / 1e6:>9.2f}{runs[0]['num_params'] / 1e6:>10.3f}"
            f"{proxy:>9}{tests[-1]:>9.2f}  {' '.join(f'{each:.2f}' for each in accuracies)}"
        )
    searched, drawn = np.split(np.array(tests), 2)
    for name, group in (("searched", searched), ("random", drawn)):
        print(f"{name}: {group.mean():.2f} ± {_half_interval(group):.2f} % (95 % interval over {len(group)} cells)")
    print(f"searched leads by {searched.mean() - drawn.mean():+.2f} points, p = {permuted(searched, drawn):.3f}")


def _half_interval(values):
    from scipy import stats

    return stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))


def permuted(first, second):
    """Returns the share of all ways to deal the values out again whose first mean leads by at least as much."""
    values, count = np.concatenate([first, second]), len(first)
    leads = []
    for chosen in itertools.combinations(range(len(values)), count):
        mine = values[list(chosen)].mean()
        leads.append(mine - (values.sum() - count * mine) / (len(values) - count))
    return float(np.mean(np.array(leads) >= first.mean() - second.mean() - 1e-12))


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
