"""Costs of small models against arithmetic; test_published.py has those of published networks."""

import keras
import pytest
from keras import layers

from nas_tf.complexity import mult_adds, num_params, peak_activation_bytes


def model_of(size, *stack):
    inputs = x = keras.Input(size)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "layer,expected",
    [
        (layers.Conv2D(5, 3, padding="same"), 8 * 8 * 3 * 3 * 4 * 5),
        (layers.Conv2D(5, 3, strides=2, padding="same", use_bias=False), 4 * 4 * 3 * 3 * 4 * 5),
        (layers.Conv2D(5, 3), 6 * 6 * 3 * 3 * 4 * 5),
        (layers.Conv2D(6, (1, 3), groups=2, padding="same"), 8 * 8 * 3 * (4 // 2) * 6),
        (layers.Conv2D(5, 3, dilation_rate=2), 4 * 4 * 3 * 3 * 4 * 5),
        (layers.DepthwiseConv2D(5, strides=2, padding="same"), 4 * 4 * 25 * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 8 * 8 * 9 * 4 * 2),
        (layers.SeparableConv2D(7, 3, strides=2, padding="same"), 4 * 4 * (9 * 4 + 4 * 7)),
        (layers.Dense(7), 8 * 8 * 4 * 7),
        (layers.AveragePooling2D(2), 0),
    ],
)
def test_mult_adds_of_one_layer(layer, expected):
    assert mult_adds(model_of((8, 8, 4), layer)) == expected


def test_mult_adds_count_each_call_and_parameters_count_once():
    shared = layers.Conv2D(4, 1, use_bias=False)
    model = model_of((8, 8, 4), shared, layers.ReLU(), shared, layers.BatchNormalization())
    assert mult_adds(model) == 2 * 64 * 16
    assert num_params(model) == 16 + 2 * 4  # the kernel, gamma and beta


def test_nested_models_are_counted_at_the_size_they_are_called_with():
    backbone = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 1), layers.GlobalAveragePooling2D()])
    inner = model_of((None, None, 3), backbone, layers.Dense(2))
    model = model_of((6, 6, 3), layers.Rescaling(1 / 255), inner)
    assert mult_adds(model) == 36 * 3 * 4 + 4 * 2
    assert num_params(model) == 3 * 4 + 4 + 4 * 2 + 2
    # The image becomes the convolution's maps: 36 x (3 + 4) numbers, where nothing else is larger.
    assert peak_activation_bytes(model) == 4 * 36 * (3 + 4)


def test_open_input_size_is_refused():
    with pytest.raises(ValueError, match=r"inputs of known size. Received: .* an input of \(None, None, None"):
        mult_adds(model_of((None, None, 3), layers.Conv2D(1, 1)))


def test_layers_whose_mult_adds_are_unknown_are_refused_by_name():
    model = model_of((8, 8, 4), layers.Conv2DTranspose(2, 3, name="up"))
    with pytest.raises(ValueError, match=r"Multiply-adds are known for Conv2D.*Received: layer 'up'"):
        mult_adds(model)
    wrapped = model_of((2, 8, 8, 4), layers.TimeDistributed(layers.Conv2D(2, 3), name="frames"))
    with pytest.raises(ValueError, match=r"Received: layer 'frames', a TimeDistributed with Conv2D"):
        mult_adds(wrapped)


def test_a_model_that_hides_its_graph_is_refused():
    class Hidden(keras.Model):
        pass

    with pytest.raises(ValueError, match=r"Expected a functional or Sequential model, built. Received: 'h', a Hidden"):
        mult_adds(Hidden(name="h"))


def test_peak_of_a_chain_is_its_largest_neighbours():
    model = model_of((8, 8, 2), layers.Conv2D(10, 1), layers.Conv2D(3, 1), layers.Flatten(), layers.Dense(5))
    assert peak_activation_bytes(model) == 4 * 64 * (10 + 3)


def test_peak_folds_what_follows_a_convolution():
    folded = [layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.5)]
    model = model_of((8, 8, 2), layers.Conv2D(10, 1), *folded, layers.GlobalAveragePooling2D())
    assert peak_activation_bytes(model) == 4 * 64 * (2 + 10)


def test_peak_keeps_a_skip_alive_until_it_is_added():
    inputs = keras.Input((8, 8, 3))
    skip = layers.Conv2D(4, 1)(inputs)
    wide = layers.Conv2D(24, 1)(skip)
    narrow = layers.Conv2D(4, 1)(wide)
    model = keras.Model(inputs, layers.Add()([skip, narrow]))
    # While `narrow` is computed: the skip, its 24 maps and the result; the sum needs three tensors of 4 maps only.
    assert peak_activation_bytes(model) == 4 * 64 * (4 + 24 + 4)


def test_peak_gives_an_activation_its_own_tensor_where_its_input_is_read_again():
    inputs = keras.Input((8, 8, 3))
    maps = layers.Conv2D(6, 1)(inputs)
    both = layers.Concatenate()([maps, layers.ReLU()(maps)])
    assert peak_activation_bytes(keras.Model(inputs, both)) == 4 * 64 * (6 + 6 + 12)


def test_peak_holds_outputs_to_the_end():
    inputs = keras.Input((8, 8, 3))
    early = layers.Conv2D(6, 1)(inputs)
    late = layers.Conv2D(2, 1)(layers.Conv2D(2, 1)(early))
    assert peak_activation_bytes(keras.Model(inputs, [early, late])) == 4 * 64 * (6 + 2 + 2)
