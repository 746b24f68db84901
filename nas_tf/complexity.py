"""What a Keras model costs before anything is timed: parameters, multiply-adds, peak activation bytes.

All three read functional and Sequential models, nested ones included. Figures are for one image (batch 1). A layer that
is called twice counts twice in multiply-adds and once in parameters.
"""

import collections
import dataclasses
import math

_FLOAT32_BYTES = 4


def num_params(model):
    """Returns the number of trainable parameters. The moving statistics of batch normalisation do not count."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def mult_adds(model):
    """Returns the multiply-adds of convolutions (also grouped, dilated, depthwise and separable ones) and dense layers.

    Biases, pooling, batch normalisation, activations and sums are not counted, as in the papers. A convolution
    counts its whole kernel at each output position, also where the kernel reaches over the border.

    Raises:
        ValueError: a layer of another kind has a kernel, a layer hides layers inside itself, or the input's size is
            open.
    """
    return sum(_mult_adds(call) for call in _trace(model).calls)


def last_narrow_layer(model, fraction):
    """Returns the last `keras.Layer` whose output is all that the layers after it read, or None.

    It and the layers before it have at most `fraction` of the model's multiply-adds, and more than none. It is a layer
    of the model itself, not of a model inside it.

    Raises:
        ValueError: as `mult_adds` does.
    """
    graph, found = _trace(model), None
    costs = [_mult_adds(call) for call in graph.calls]
    last_read = {id(tensor): step for step, call in enumerate(graph.calls) for tensor in call.inputs}
    last_read |= {id(tensor): len(costs) for tensor in graph.outputs}
    own, read_until, cost = {id(layer) for layer in model.layers}, 0, 0
    for step, call in enumerate(graph.calls):
        cost += costs[step]
        if cost > fraction * sum(costs):
            return found
        is_narrow = cost and read_until <= step and len(call.outputs) == 1
        if is_narrow and id(call.layer) in own:
            found = call.layer
        read_until = max(read_until, *(last_read.get(id(tensor), 0) for tensor in call.outputs))
    return found


def peak_activation_bytes(model):
    """Returns the most bytes of activations that are alive at once, as float32, in the order of the Keras graph.

    A tensor lives from the call that makes it to the end of the last call that reads it. The model's inputs live from
    the start, its outputs to the end. While a layer runs, its inputs and outputs are both alive. TFLite folds some
    layers into the one before, or leaves them out: batch normalisation, activations, dropout, rescaling, reshaping.
    These write over their input where nothing else reads it. Every other layer, sums included, makes a new tensor.

    The operators of a MnasNet's TFLite file lead to the same figure. A file whose operators the converter reorders, or
    rids of padding, needs less.

    Raises:
        ValueError: the input's size is open.
    """
    graph = _trace(model)
    readers = collections.Counter(id(tensor) for call in graph.calls for tensor in call.inputs)
    readers.update(id(tensor) for tensor in graph.outputs)
    buffers = {id(tensor): _Buffer(_bytes(tensor), born=0) for tensor in graph.inputs}
    for step, call in enumerate(graph.calls):
        for tensor in call.inputs:
            buffers[id(tensor)].died = step
        overwrites = _folds(call.layer) and len(call.inputs) == 1 and readers[id(call.inputs[0])] == 1
        for tensor in call.outputs:
            if id(tensor) not in buffers:
                buffers[id(tensor)] = buffers[id(call.inputs[0])] if overwrites else _Buffer(_bytes(tensor), born=step)
    for tensor in graph.outputs:
        buffers[id(tensor)].died = len(graph.calls)
    distinct = {id(buffer): buffer for buffer in buffers.values()}.values()
    return max(
        sum(buffer.bytes for buffer in distinct if buffer.born <= step <= buffer.died)
        for step in range(len(graph.calls) or 1)
    )


@dataclasses.dataclass
class _Buffer:
    bytes: int
    born: int
    died: int = -1

    def __post_init__(self):
        self.died = max(self.died, self.born)


@dataclasses.dataclass(frozen=True)
class _Call:
    """One call of a layer: KerasTensors in and out, of known shape and batch 1."""

    layer: object
    inputs: list
    outputs: list


@dataclasses.dataclass(frozen=True)
class _Graph:
    inputs: list
    calls: list
    outputs: list


def _trace(model):
    """Returns the `_Graph` of the model's calls at batch 1, in the order of execution, nested models unfolded."""
    import keras

    calls = []

    def run(function, inputs):
        graph = getattr(function, "_functional", None) or function
        if not hasattr(graph, "_run_through_graph"):
            raise ValueError(
                f"Expected a functional or Sequential model, built. Received: {function.name!r}, "
                f"a {type(function).__name__}"
            )
        return graph._run_through_graph(
            inputs, operation_fn=lambda layer: lambda *args, **kwargs: call(layer, args, kwargs)
        )

    def call(layer, args, kwargs):
        if isinstance(layer, keras.Model):
            return run(layer, args)
        outputs = layer.compute_output_spec(*args, **kwargs)
        calls.append(_Call(layer, tensors((args, kwargs)), tensors(outputs)))
        return outputs

    def tensors(structure):
        return [value for value in keras.tree.flatten(structure) if isinstance(value, keras.KerasTensor)]

    inputs = []
    for tensor in getattr(model, "inputs", None) or []:
        if None in tensor.shape[1:]:
            raise ValueError(
                f"A model's cost needs inputs of known size. Received: {model.name!r} with an input of {tensor.shape}"
            )
        inputs.append(keras.KerasTensor((1, *tensor.shape[1:]), dtype=tensor.dtype))
    outputs = run(model, inputs)
    return _Graph(inputs, calls, tensors(outputs))


def _mult_adds(call):
    from keras import layers

    layer = call.layer
    if isinstance(layer, layers.SeparableConv2D):
        kernels, channels = [layer.depthwise_kernel, layer.pointwise_kernel], layer.filters
    elif isinstance(layer, layers.DepthwiseConv2D):
        kernels, channels = [layer.kernel], layer.kernel.shape[2] * layer.depth_multiplier
    elif isinstance(layer, layers.Conv2D):
        kernels, channels = [layer.kernel], layer.filters
    elif isinstance(layer, layers.Dense):
        kernels, channels = [layer.kernel], layer.units
    else:
        _check_holds_no_kernel(layer)
        return 0
    positions = _size(call.outputs[0]) // channels
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def _check_holds_no_kernel(layer):
    from keras import layers

    inside = layer._flatten_layers() if isinstance(layer, layers.Layer) else []
    for part in inside:
        if hasattr(part, "kernel") or hasattr(part, "pointwise_kernel"):
            raise ValueError(
                "Multiply-adds are known for Conv2D, DepthwiseConv2D, SeparableConv2D and Dense, each a layer of the "
                f"model itself. Received: layer {layer.name!r}, a {type(layer).__name__} with {type(part).__name__}"
            )


def _folds(layer):
    from keras import layers

    return isinstance(
        layer,
        (
            layers.BatchNormalization,
            layers.Activation,
            layers.ReLU,
            layers.LeakyReLU,
            layers.ELU,
            layers.PReLU,
            layers.Dropout,
            layers.SpatialDropout2D,
            layers.Rescaling,
            layers.Reshape,
            layers.Flatten,
            layers.Identity,
        ),
    )


def _size(tensor):
    return math.prod(tensor.shape)


def _bytes(tensor):
    return _size(tensor) * _FLOAT32_BYTES
