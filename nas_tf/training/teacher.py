"""A trained network that another one learns from: its probabilities for the very images that the other one sees.

This module imports Keras at its top: it is imported where a network is trained.
"""

import keras


class Teacher(keras.layers.Layer):
    """Asks a network about images while training, and returns zeros otherwise. It learns nothing itself.

    It takes float32 [batch, size, size, 3] in [-1, 1], resizes them to the network's own size where that is another,
    and returns probabilities, float32 [batch, classes].

    Args:
        network: the `keras.Model`. Its weights are no weights of this layer, so that no checkpoint holds them.
        **kwargs: as for `keras.layers.Layer`.
    """

    def __init__(self, network, **kwargs):
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self._ask = lambda images: network(images, training=False)  # a closure is not tracked
        self._size, self._classes = network.inputs[0].shape[1:3], network.outputs[0].shape[-1]

    def call(self, images, training=False):
        if not training:
            return keras.ops.zeros((keras.ops.shape(images)[0], self._classes))
        if None not in self._size and tuple(images.shape[1:3]) != tuple(self._size):
            images = keras.ops.image.resize(images, self._size, data_format="channels_last")
        return keras.ops.stop_gradient(keras.ops.cast(self._ask(images), "float32"))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self._classes)
