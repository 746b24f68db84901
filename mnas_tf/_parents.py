"""Trained networks that others of this family can begin with: by published name, by file of weights, by folder."""

import dataclasses
import os
import re

from mnas_tf import _networks, _pytorch_weights, _weight_files
from mnas_tf.spaces.mnasnet import MnasNet, Scale
from nas_tf.files import digest
from nas_tf.networks import weights
from nas_tf.networks.folder import has_description, read_description
from nas_tf.networks.parent import ParentNetwork
from nas_tf.trial import UserError

_STYLE = ("padding", "bn_epsilon", "activation", "input_normalization")
_OWN_FOLDER = "mnas_tf.spaces"


def parent(text):
    """Returns the `nas_tf.networks.parent.ParentNetwork` that `--parent` names.

    Args:
        text: the name of a published network of this family with ImageNet weights, which are fetched if need be; a file
            of such weights, timm's `.safetensors` or Keras's `.h5`; or the folder of a network that was trained here.

    Raises:
        UserError: there is no such network, its weights cannot be had, or it is of another family.
    """
    if os.path.isdir(text):
        return _of_folder(text)
    if os.path.isfile(text):
        return _of_file(text, _name_of_file(text))
    if text in _parents():
        return _of_file(str(_weight_files.weights_file(text)), text)
    raise UserError(
        f"Expected --parent, one of {', '.join(_parents())}, a file of such weights (.safetensors, .h5), or the folder "
        f"of a trained network. Received: {text!r}"
    )


def _parents():
    """Returns a tuple of the published networks of this family with published weights."""
    return tuple(name for name in _weight_files.NAMES if isinstance(_networks.architecture(name), MnasNet))


def _of_file(path, name):
    architecture = _networks.architecture(_networks.weights_name(name))
    scale = _networks.scale_for(name, Scale())

    def load(model):
        return weights.load(model, path, reader=_networks.read_weights)

    style = {field: getattr(scale, field) for field in _STYLE}
    return ParentNetwork(name, architecture, style, digest(path), load, published_path=path)


def _of_folder(folder):
    if not has_description(folder):
        raise UserError(
            f"Expected --parent to be the folder of a trained network. There is no architecture.json in {folder}"
        )
    description = read_description(folder)
    if description.space is None or description.space.get("folder") != _OWN_FOLDER:
        raise UserError(
            f"Expected --parent to be of the MnasNet family. Received: {folder}, which holds {description.text}"
        )
    if description.recipe is None:
        raise UserError(f"Expected --parent to be a trained network. Received: {folder}, whose weights are untrained")
    path = os.path.join(folder, "model.keras")
    return ParentNetwork(
        name=os.path.basename(os.path.abspath(folder)),
        # A parent gives weights for images of any size.
        architecture=dataclasses.replace(MnasNet.from_json(description.architecture), image_size=None),
        style={field: description.scale[field] for field in _STYLE if field in description.scale},
        digest=digest(path),
        load=lambda model: weights.load(model, path),
        class_names=description.class_names,
    )


def _name_of_file(path):
    """Returns the name of the published network whose weights a file holds.

    Raises:
        UserError: they fit none, or it is no file of weights.
    """
    known = [name for name in _parents() if path.endswith(_weight_files.FILES[name, 1.0].kind)]
    if path.endswith(".h5") and not path.endswith(".weights.h5") and known:
        return known[0]  # the one that Keras publishes; loading says if it is another
    if not path.endswith(".safetensors"):
        raise UserError(
            "Expected --parent to be a file of published weights, .safetensors or .h5, or the folder of a trained "
            f"network. Received: {path!r}"
        )
    found = _layers_of_file(_pytorch_weights.read_tensors(path))
    for name in known:
        if _layers(_networks.architecture(_networks.weights_name(name))) == found:
            return name
    raise UserError(f"Expected weights of {', '.join(known)}. Received: {path}, which fits none of them")


def _layers(architecture):
    """Returns a dict from block and layer, counted from 0, to the kernel size, hidden channels and filters there."""
    found = {}
    for number, block in enumerate(architecture.blocks):
        for layer, (inputs, _, _) in enumerate(block.layers()):
            found[number, layer] = block.kernel_size, inputs * block.expansion_ratio, block.filters
    return found


def _layers_of_file(tensors):
    """Returns the same of a dict of timm's tensors."""
    found = {}
    for name, tensor in tensors.items():
        place = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.conv_dw\.weight", name)
        if place:
            layer = f"blocks.{place[1]}.{place[2]}"
            last = tensors.get(f"{layer}.conv_pwl.weight", tensors.get(f"{layer}.conv_pw.weight"))
            if tensor.ndim == 4 and last is not None:
                found[int(place[1]), int(place[2])] = tensor.shape[3], tensor.shape[0], last.shape[0]
    return found
