"""An accuracy table: what may stand in the place of each block of a trained parent, with weights, and what that costs.

A table is made of a parent that was fine-tuned on the user's images (`nas_tf.accuracy_tables`). For each of its blocks
it holds what may stand in the block's place, already repaired, and how far each is from giving the parent's maps. What
that means for the accuracy of a network, after a short fine-tuning, was fitted on whole networks. With two widths there
are two libraries, each of a parent of its own.

`NAME.json` is the table; beside it the folder `NAME.blocks` has the parents and the weights of all blocks.
"""

import dataclasses
import functools
import json
import math
import pathlib
import zipfile

import numpy as np

from nas_tf.files import load_json, write_file
from nas_tf.networks.folder import read_keras
from nas_tf.space import fingerprint
from nas_tf.trial import UserError

VERSION = 1
_DICTS = ("space", "parent", "scale", "deploy_scale", "images", "training")
_KEYS = ("version", *_DICTS, "libraries")


@dataclasses.dataclass(frozen=True)
class Alternative:
    """What may stand in the place of a parent's block.

    Attributes:
        loss: mean squared error of its map against the parent's, in variances of each channel; 0: the parent's block.
        divergence: Kullback-Leibler divergence, in nats, of the parent's answers from those with this block in place.
        kept: `"own"` (it is the parent's block), `"inherited"` or `"repaired"`, whichever weights are better.
        file: of its weights, in the folder of the library; empty: the parent's.
    """

    loss: float
    divergence: float
    kept: str
    file: str = ""


@dataclasses.dataclass(frozen=True)
class Library:
    """One parent's blocks.

    Attributes:
        width: factor on the filters of the parent's parent; 1: it is that one.
        architecture: JSON of the parent's architecture.
        blocks: tuple with a dict for each block, from the text of what may stand in its place to its `Alternative`.
        sizes: dict from image size in pixels, of the network that ships, to the accuracy of the parent, as fitted.
        weights: float for each block: what its damage, `sqrt(divergence)`, costs of the accuracy.
        facts: JSON-ready dict of everything else: the parent, the networks of the fit and of the test.
    """

    width: float
    architecture: dict
    blocks: tuple
    sizes: dict
    weights: tuple
    facts: dict

    def to_json(self):
        """JSON-ready dict of the library."""
        blocks = [{text: dataclasses.asdict(each) for text, each in block.items()} for block in self.blocks]
        return {**dataclasses.asdict(self), "blocks": blocks}

    @classmethod
    def from_json(cls, value):
        """Returns the library whose `to_json()` returned `value`."""
        blocks = tuple({text: Alternative(**each) for text, each in block.items()} for block in value["blocks"])
        sizes = {int(size): float(reached) for size, reached in value["sizes"].items()}
        found = cls(**{**value, "blocks": blocks, "sizes": sizes, "weights": tuple(value["weights"])})
        alternatives = [each for block in blocks for each in block.values()]
        numbers = [number for each in alternatives for number in (each.loss, each.divergence)]
        if not all(math.isfinite(number) for number in [*numbers, *found.weights]):
            raise ValueError("a number that is not finite")
        if not all(0 <= reached <= 1 for reached in sizes.values()) or min((0.0, *found.weights)) < 0:
            raise ValueError("an accuracy that is not in [0, 1], or a weight below 0")
        if not sizes or not blocks or len(found.weights) != len(blocks) or not all(blocks):
            raise ValueError("no image size, or not a weight and an alternative for each block")
        if any(not isinstance(each.file, str) or pathlib.Path(each.file).name != each.file for each in alternatives):
            raise ValueError("a file outside its folder")
        return found


def damage(alternative):
    """Returns what an alternative adds to what is fitted against accuracy, a float of at least 0."""
    return math.sqrt(max(0.0, alternative.divergence))


@dataclasses.dataclass(frozen=True)
class AccuracyTable:
    """What the file of an accuracy table holds.

    Attributes:
        path: of the file.
        space: JSON of the search space's `nas_tf.plugins.Part`.
        parent: dict of which network the first parent is.
        scale, deploy_scale: dicts of the scale at which children are judged, and of that at which networks ship.
        images: dict of the images: their digest, classes, `num_samples`, `seed`, `race_fraction`.
        training: dict of the `nas_tf.training.children.ChildTraining`.
        libraries: tuple of `Library`s.
        facts: dict of everything else.
    """

    path: pathlib.Path
    space: dict
    parent: dict
    scale: dict
    deploy_scale: dict
    images: dict
    training: dict
    libraries: tuple
    facts: dict = dataclasses.field(default_factory=dict)

    @property
    def folder(self):
        """`pathlib.Path` of the folder with the parents and the weights of blocks."""
        return folder_of(self.path)

    @classmethod
    def read(cls, path):
        """Returns the table in a file.

        Raises:
            UserError: there is no such table, it is damaged, or it is of another version.
        """
        path = pathlib.Path(path).expanduser()
        try:
            value = load_json(path)
            missing = [key for key in _KEYS if key not in value] if isinstance(value, dict) else _KEYS
            if missing:
                raise UserError(
                    f"Expected an accuracy table. Received: {str(path)!r}, which lacks {', '.join(missing)}"
                )
            if value["version"] != VERSION:
                raise UserError(
                    f"Expected an accuracy table of version {VERSION}. Received: {str(path)!r} of version "
                    f"{value['version']!r}. Make it again with nas-table --of=accuracy"
                )
            libraries = tuple(Library.from_json(each) for each in value["libraries"])
            if not libraries:
                raise ValueError("it has no library")
            if not all(isinstance(value[key], dict) for key in _DICTS) or "parent_digest" not in value["parent"]:
                raise ValueError(f"expected {', '.join(_DICTS)} to say what it is made of")
        except UserError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"Expected an accuracy table. Received: {str(path)!r}: {error}") from error
        facts = {key: each for key, each in value.items() if key not in _KEYS}
        named = {key: value[key] for key in _KEYS if key not in ("version", "libraries")}
        return cls(path, libraries=libraries, facts=facts, **named)

    def write(self):
        """Writes the table to its file, which `read` reads."""
        named = {key: getattr(self, key) for key in _KEYS if key not in ("version", "libraries")}
        value = {"version": VERSION, **named, "libraries": [each.to_json() for each in self.libraries], **self.facts}
        write_file(self.path, json.dumps(value, indent=1, allow_nan=False) + "\n")

    @property
    def digest(self):
        """str: changes with anything that an accuracy depends on."""
        return fingerprint(
            [
                *(self.parent, self.scale, self.deploy_scale, self.images, self.training),
                [each.to_json() for each in self.libraries],
            ]
        )


def folder_of(path):
    """Returns the folder beside a table's file."""
    return pathlib.Path(path).with_suffix(".blocks")


class Predictor:
    """Adds up accuracies of a space's architectures, from a table.

    Args:
        table: the `AccuracyTable`.
        space: the `nas_tf.space.SearchSpace` that it was made for, or one with fewer choices.
    """

    def __init__(self, table, space):
        self._libraries = []
        self.space, self.table = space, table
        for library in table.libraries:
            parent = space.architecture(library.architecture)
            cost = [
                {block: weight * damage(alternatives[str(block)]) for block in choices if str(block) in alternatives}
                for choices, alternatives, weight in zip(
                    space.block_choices(parent), library.blocks, library.weights, strict=True
                )
            ]
            self._libraries.append((parent, library, cost))

    @functools.cached_property
    def own_size(self):
        """int: the image size in pixels of networks that have none of their own."""
        return self.table.deploy_scale["image_size"]

    def parts(self):
        """Yields `(parent's architecture, Library, list of dict from block to what it costs of the accuracy)`."""
        yield from self._libraries

    def accuracy(self, architecture):
        """Returns the predicted validation accuracy, a float in [0, 1].

        Raises:
            KeyError: the table has not one of its blocks, its widths or its image size; the argument is which.
        """
        blocks = self.space.blocks(architecture)
        for _, library, cost in self._libraries:
            try:
                lost = sum(map(dict.__getitem__, cost, blocks))
            except KeyError:
                continue
            return min(1.0, max(0.0, library.sizes[self.space.image_size(architecture) or self.own_size] - lost))
        raise KeyError(self._missing(blocks))

    def _missing(self, blocks):
        """Returns which of these blocks no library has, in words."""
        most = max(
            (sum(map(dict.__contains__, cost, blocks)), -number) for number, (*_, cost) in enumerate(self._libraries)
        )
        cost = self._libraries[-most[1]][2]
        return ", ".join(str(block) for block, known in zip(blocks, cost) if block not in known)

    def library(self, architecture):
        """Returns the `Library` that has the architecture's blocks.

        Raises:
            KeyError: there is none.
        """
        blocks = self.space.blocks(architecture)
        for _, library, cost in self._libraries:
            if all(map(dict.__contains__, cost, blocks)):
                return library
        raise KeyError(self._missing(blocks))


def assemble(table, space, architecture, scale):
    """Returns the `keras.Model` of an architecture with the weights that a table keeps for its blocks.

    Args:
        table: the `AccuracyTable`.
        space: the `nas_tf.space.SearchSpace`.
        architecture: of the network.
        scale: the family's `Scale` of the network.

    Raises:
        UserError: a file of weights is missing or damaged.
    """
    model = space.build(architecture, scale)
    begin(table, space, architecture, model)
    return model


def begin(table, space, architecture, model):
    """Puts the weights that a table keeps into a network; see `assemble`.

    Returns:
        In words, which weights.
    """
    library = Predictor(table, space).library(architecture)
    parent, folder = space.architecture(library.architecture), table.folder / library_name(library.width)
    changed, values = [], {}
    for number, (block, own) in enumerate(zip(space.blocks(architecture), space.blocks(parent)), 1):
        if block != own:
            alternative = library.blocks[number - 1][str(block)]
            values |= read_block(folder / alternative.file)
            changed.append(f"block{number}")
    source = {layer.name: layer for layer in read_keras(folder / "parent" / "parent.keras").layers}
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name.partition("_")[0] in changed:
            given = values.get(layer.name, [])
            if [each.shape for each in given] != [tuple(each.shape) for each in layer.weights]:
                raise UserError(
                    f"Expected the weights of {layer.name}, as in {architecture}, in {folder}. Received: those of "
                    "another block. Make the table again with nas-table"
                )
            layer.set_weights(given)
        elif layer.name != "predictions" or source[layer.name].units == layer.units:
            layer.set_weights(source[layer.name].get_weights())
    return f"{table.parent['parent']}, {', '.join(changed) or 'no block'} repaired"


def library_name(width):
    """Returns the name of the folder of a library."""
    return f"width_{width:g}"


def write_block(path, block):
    """Writes the weights of a block, a `keras.Model`."""
    values = {}
    for layer in block.layers:
        values |= {f"{layer.name}/{number}": value for number, value in enumerate(layer.get_weights())}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **values)
    partial.replace(path)


def read_block(path):
    """Returns a dict from the name of a layer to the list of its arrays.

    Raises:
        UserError: the file is missing or damaged.
    """
    found = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                layer, _, number = name.rpartition("/")
                found.setdefault(layer, {})[int(number)] = file[name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Expected the weights of a block in {path}. Received: {error}. Make the table again with nas-table"
        ) from error
    return {layer: [arrays[number] for number in sorted(arrays)] for layer, arrays in found.items()}
