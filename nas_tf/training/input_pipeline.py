"""What happens to images on their way into a network while it is trained or judged: Keras layers in front of it."""

from nas_tf.datasets import PIXEL_MEAN, PIXEL_STD


def with_input_pipeline(child, augmentation, recipe=None, model_type=None):
    """Returns `child` behind layers that rescale images to [-1, 1] and augment them while training.

    The model takes images [batch, size, size, 3] of values from 0 to 255. It returns probabilities, float32
    [batch, heads, classes], where the heads are the outputs of `child`.

    Args:
        child: `keras.Model` from images in [-1, 1] to probabilities.
        augmentation: what the data set allows (`nas_tf.datasets.Dataset.augmentation`).
        recipe: `nas_tf.training.recipe.Recipe` that may ask for more augmentation, or None.
        model_type: class of the model; None: `keras.Model`.
    """
    import keras

    inputs = x = keras.Input(child.inputs[0].shape[1:], name="pixels")
    if recipe and recipe.randaugment_ops:
        factor = recipe.randaugment_factor
        x = keras.layers.RandAugment((0, 255), recipe.randaugment_ops, factor, dtype="float32", name="randaugment")(x)
    x = keras.layers.Rescaling(1 / PIXEL_STD, offset=-PIXEL_MEAN / PIXEL_STD, dtype="float32", name="rescale")(x)
    for layer in _AUGMENTATIONS[augmentation](keras.layers):
        x = layer(x)
    if recipe and recipe.cutout_fraction:
        area = (recipe.cutout_fraction**2,) * 2
        x = keras.layers.RandomErasing(
            (1.0, 1.0), area, fill_value=0.0, value_range=(-1.0, 1.0), dtype="float32", name="cutout"
        )(x)
    outputs = child(x)
    heads = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    stacked = keras.ops.stack([keras.ops.cast(head, "float32") for head in heads], axis=1)
    return (model_type or keras.Model)(inputs, stacked)


_AUGMENTATIONS = {
    "none": lambda layers: [],
    "shift": lambda layers: [
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", dtype="float32", name="shift"),
    ],
    "shift_flip": lambda layers: [
        layers.RandomTranslation(0.125, 0.125, fill_mode="constant", dtype="float32", name="shift"),
        layers.RandomFlip("horizontal", dtype="float32", name="flip"),
    ],
    "crop_flip": lambda layers: [
        layers.RandomZoom((-0.5, 0.0), (-0.5, 0.0), fill_mode="nearest", dtype="float32", name="zoom"),
        layers.RandomTranslation(0.2, 0.2, fill_mode="nearest", dtype="float32", name="shift"),
        layers.RandomFlip("horizontal", dtype="float32", name="flip"),
    ],
}
