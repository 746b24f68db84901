"""Files of weights as timm and Keras publish them, with values that NumPy draws."""

import importlib.util

import h5py
import keras
import numpy as np
from safetensors.numpy import save_file
from support import ROOT

from mnas_tf import _pytorch_weights

_PATH = ROOT / "tests" / "data" / "make_timm_logits.py"
_spec = importlib.util.spec_from_file_location("make_timm_logits", _PATH)
timm_logits = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(timm_logits)


def torch_shapes(model):
    """dict of PyTorch's tensor name to its shape in PyTorch's layout, of the layers of `model`."""
    shapes = {}
    for layer, names in _pytorch_weights.tensor_names(model).items():
        for name, variable in zip(names, model.get_layer(layer).weights):
            shape = tuple(variable.shape)
            if len(shape) == 4:
                height, width, inputs, outputs = shape
                depthwise = layer.endswith("depthwise_conv")
                shape = (inputs, 1, height, width) if depthwise else (outputs, inputs, height, width)
            shapes[name] = shape[::-1] if len(shape) == 2 else shape
    return shapes


def write_timm(path, model):
    """The weights that `timm_logits` draws for timm's counterpart of `model`, with the counters that files have too."""
    tensors = timm_logits.draw_weights(torch_shapes(model))
    counters = {
        name.replace("running_var", "num_batches_tracked"): np.array(7)
        for name in tensors
        if name.endswith("running_var")
    }
    save_file({**{name: np.ascontiguousarray(each) for name, each in tensors.items()}, **counters}, path)
    return str(path)


def write_keras(path, model, rename=None, gain=1.5):
    """Draws weights for a network of `keras.applications` and writes them as its old `.h5` files hold them.

    Names of layers are as in `model`, but for those in the dict `rename`: old files have older names. Kernels scale the
    variance of what they read by `gain`, more or less. dict of layer name to list of arrays.
    """
    rng, drawn = np.random.default_rng(0), {}
    for layer in model.layers:
        drawn[layer.name] = [_draw(rng, layer, variable, gain) for variable in layer.weights]
        if layer.name.startswith("normalization"):
            drawn[layer.name] = [np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225)), np.int64(0)]
    with h5py.File(path, "w") as file:
        names = {name: (rename or {}).get(name, name) for name in drawn}
        file.attrs["layer_names"] = [name.encode() for name in names.values()]
        for name, arrays in drawn.items():
            group = file.create_group(names[name])
            group.attrs["weight_names"] = [f"{names[name]}/{number}:0".encode() for number in range(len(arrays))]
            for number, array in enumerate(arrays):
                group.create_dataset(f"{names[name]}/{number}:0", data=array)
    return drawn


def _draw(rng, layer, variable, gain):
    shape, noise = tuple(variable.shape), rng.standard_normal(variable.shape)
    if len(shape) > 1:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) or "depthwise" in variable.name
        noise *= np.sqrt(gain / np.prod(shape[:2] if is_depthwise else shape[:-1]))
    elif variable.name == "moving_variance":
        noise = np.exp(0.3 * noise)
    else:
        noise = (variable.name == "gamma") + 0.1 * noise
    return noise.astype(np.float32)
