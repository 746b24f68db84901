"""What tests of cells and of networks of cells share."""

import numpy as np

from nasnet_tf.spaces.nasnet import Block, Cell


def random_tokens(space, rng):
    return tuple(int(rng.integers(count)) for count in space.num_choices)


def rewritten(cell, rng):
    """The same cell with its operands swapped and its blocks reordered at random, by plain list work."""
    order, numbers = [], {0: 0, 1: 1}
    waiting = list(range(len(cell.blocks)))
    while waiting:
        ready = [i for i in waiting if all(state in numbers for state, _ in cell.blocks[i].operands)]
        chosen = int(rng.choice(ready))
        waiting.remove(chosen)
        numbers[chosen + 2] = len(numbers)
        order.append(chosen)
    blocks = []
    for i in order:
        operands = [(numbers[state], op) for state, op in cell.blocks[i].operands]
        if rng.integers(2):
            operands.reverse()
        (input1, op1), (input2, op2) = operands
        blocks.append(Block(input1, input2, op1, op2, cell.blocks[i].combine))
    return Cell(tuple(blocks), tuple(numbers[state] for state in cell.output))


def images(count, size, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype("float32")


def shake(model, seed=0):
    """Gives batch normalisation weights and statistics that are not 0 and 1, so that every one of them matters."""
    import keras

    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [
                    rng.uniform(low, high, weight.shape)
                    for weight, (low, high) in zip(
                        layer.get_weights(), ((0.8, 1.2), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5))
                    )
                ]
            )


def run_tflite(path, pictures):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pictures)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
