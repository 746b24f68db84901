"""The network that a detector is built on, and the weights that it begins with."""

import dataclasses
import pathlib
import typing

import numpy as np

from nas_tf.bars import doing
from nas_tf.datasets import scale_pixels
from nas_tf.detection.batches import plain_batches
from nas_tf.family import families, family_of, space_from_file
from nas_tf.files import digest
from nas_tf.networks import inheritance, ssdlite, weights
from nas_tf.networks.folder import DESCRIPTION, has_description, read_description
from nas_tf.plugins import Part
from nas_tf.training.parent import EXAMPLES
from nas_tf.trial import UserError

# Fields of a family's `Scale` that the initial weights decide.
_OF_THE_WEIGHTS = ("padding", "input_normalization", "bn_epsilon", "activation")


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network of a search space, without weights.

    Attributes:
        space: the search space's `nas_tf.plugins.Part`.
        architecture: an architecture of it.
        scale: the family's `Scale`, of the detector's image size.
        start: `start(data)` returns `(dict from layer name to list of arrays, words on which weights these are)`, given
            the `nas_tf.detection.data.DetectionData`; None: its weights are random.
        digest: tells its initial weights from others; empty: they are random.
    """

    space: Part
    architecture: object
    scale: object
    start: typing.Callable | None = None
    digest: str = ""

    def detector(self, num_classes):
        """Returns the `keras.Model` of the SSDLite detector on this network, with random weights.

        Raises:
            UserError: the network has no maps at the strides that it needs.
        """
        style = dataclasses.replace(ssdlite.STYLE, bn_momentum=self.scale.bn_momentum)
        maps = self.space.space.feature_maps(self.architecture, self.scale)
        return ssdlite.detector(maps, num_classes, style)


def choose(architecture, parent, initial_weights, image_size, scale_settings=(), search_space="", plan_scale=None):
    """Returns the `Backbone` that settings ask for.

    Args:
        architecture: the folder of a trained network, an `architecture.json`, or what a family reads: block strings, a
            published name. Empty: the parent's.
        parent, initial_weights: as in a family's train command; at most one is not empty.
        image_size: height and width of the detector's images in pixels.
        scale_settings: settings of the family's `Scale`, as in `("cells=6", "filters=168")`.
        search_space: the search space, or a file of the user's own.
        plan_scale: dict of the settings of `Scale` that belong to the recipe.

    Raises:
        UserError: there is no such network, or its weights are of another.
    """
    if parent and initial_weights:
        raise UserError(
            "Expected --parent or --initial_weights, not both. Received: "
            f"--parent={parent} --initial_weights={initial_weights}"
        )
    if not architecture and not parent:
        raise UserError("Expected --architecture, or a --parent whose architecture it is. Received: none")
    found = parent and find_parent(parent)
    if architecture and has_description(architecture):
        initial_weights = initial_weights or ("" if parent else architecture)
        space, network, scale = _of_description(read_description(architecture), architecture, search_space)
    elif architecture.endswith(".json") and pathlib.Path(architecture).name == DESCRIPTION:
        description = read_description(pathlib.Path(architecture).parent)
        space, network, scale = _of_description(description, architecture, search_space)
    elif architecture:
        space, network, scale = _named(architecture, search_space)
    else:
        family, network = found[0], found[1].architecture
        space = family.space(search_space or _default(family, "search_space"))
        scale = _scale(family, space, _default(family, "architecture"))
    family = family_of(space.name)
    scale = dataclasses.replace(scale, image_size=image_size, **(plan_scale or {}))
    scale = _changed(scale, scale_settings)
    if found:
        if found[0] is not family:
            raise UserError(f"Expected a --parent of the family of {space.folder}. Received: {parent}")
        return of(space, network, scale, found[1])
    if not initial_weights:
        return of(space, network, scale)
    scale = _fitted(family, initial_weights, network, scale)
    return Backbone(
        space, network, scale, _loading(space.space, family, network, scale, initial_weights), _digest(initial_weights)
    )


def of(space, architecture, scale, parent=None):
    """Returns the `Backbone` of an architecture of a space's `Part`.

    It begins with the weights of a `ParentNetwork`, and takes on its style; where `parent` is None, they are random.
    """
    if parent is None:
        return Backbone(space, architecture, scale)
    scale = parent.scale(scale)
    return Backbone(space, architecture, scale, _inheriting(space.space, parent, architecture, scale), parent.digest)


def _digest(weights_path):
    path = pathlib.Path(weights_path)
    path = path / "model.keras" if path.is_dir() else path
    return digest(path) if path.is_file() else weights_path


def find_parent(text):
    """Returns `(family, nas_tf.networks.parent.ParentNetwork)` of the first family that knows it."""
    refused = []
    for family in families():
        try:
            return family, family.parent(text)
        except UserError as error:
            refused.append(str(error))
    raise UserError(refused[0])


def _of_description(description, where, search_space):
    if description.space is None:
        raise UserError(f"Expected a network of a search space. Received: {where}, which is of none")
    space = space_from_file(description.space, where, search_space)
    family = family_of(space.name)
    known = {field.name for field in dataclasses.fields(space.module.Scale)}
    kept = {name: value for name, value in description.scale.items() if name in known}
    scale = _scale(family, space, _default(family, "architecture"))
    return space, space.space.architecture(description.architecture), dataclasses.replace(scale, **kept)


def _named(text, search_space):
    """Returns `(Part of the space, architecture, scale)` of the first family that can read a text."""
    refused = []
    for family in families():
        space = family.space(search_space or _default(family, "search_space"))
        if search_space and family is not family_of(search_space):
            continue
        try:
            return space, family.read_architecture(text, space.space), _scale(family, space, text)
        except UserError as error:
            refused.append(str(error))
    raise UserError(" Or: ".join(refused))


def _default(family, name):
    return next(field.default for field in dataclasses.fields(family.train_settings) if field.name == name)


def _scale(family, space, text):
    """Returns the `Scale` that the family's train command has for an architecture by default."""
    name = next(iter(family.plans))
    settings = family.train_settings(architecture=text, out_dir="-", recipe=name)
    plan = family.plans[name]
    return family.train_scales(settings, space.module.Scale, 1, plan, plan.recipe)[0]


def _changed(scale, settings):
    """Returns a `Scale` with settings of the form `name=value`."""
    fields, changes = {field.name: field for field in dataclasses.fields(scale)}, {}
    for each in settings:
        name, is_given, value = each.partition("=")
        if not is_given or name not in fields or name == "image_size":
            raise UserError(
                f"Expected --scale of name=value, with names of {', '.join(sorted(fields.keys() - {'image_size'}))}. "
                f"Received: {each!r}"
            )
        kind = type(getattr(scale, name))
        try:
            changes[name] = value.lower() == "true" if kind is bool else kind(value)
        except ValueError as error:
            raise UserError(f"Expected --scale with {name} of type {kind.__name__}. Received: {each!r}") from error
    return dataclasses.replace(scale, **changes)


def _fitted(family, path, architecture, scale):
    """Returns the scale with the fields that the weights at a path decide."""
    if not has_description(path):
        return family.scale_for_weights(path, architecture, scale)
    theirs = read_description(path).scale
    return dataclasses.replace(
        scale, **{name: theirs[name] for name in _OF_THE_WEIGHTS if name in theirs and hasattr(scale, name)}
    )


def _loading(space, family, architecture, scale, path):
    def start(data):
        model = space.build(architecture, scale)
        words = weights.load(model, path, reader=family.read_weights)
        return _values(model), words.partition(" (head")[0]

    return start


def _inheriting(space, parent, architecture, scale):
    def start(data):
        if architecture == parent.architecture:
            model = space.build(architecture, scale)
            parent.load(model)
            return _values(model), parent.name
        doing("inheriting")
        counterparts = space.counterparts(architecture, parent.architecture)
        model, source = space.build(architecture, scale), parent.build(space, scale)
        inherited = inheritance.inherit(model, inheritance.Parent(source, _images(data, scale)), counterparts)
        return _values(model), f"{parent.name} ({inherited})"

    return start


def _images(data, scale):
    examples = data.splits["train"][:EXAMPLES]
    return scale_pixels(np.concatenate(list(plain_batches(data, examples, scale.image_size, 32))))


def _values(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def put(detector, values):
    """Puts the weights of a classifier into a detector's network, layer by layer. The head keeps its own.

    Args:
        detector: the `keras.Model` of `Backbone.detector`.
        values: dict from layer name to list of arrays.

    Raises:
        UserError: a layer of the network is not among them.
    """
    for layer in detector.layers:
        if not layer.weights or layer.name.startswith("ssd_"):
            continue
        if layer.name not in values:
            raise UserError(f"Expected weights of layer {layer.name!r}, which the detector reads. Received: none")
        layer.set_weights(values[layer.name])
