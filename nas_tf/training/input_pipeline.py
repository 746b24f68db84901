"""What happens to images on their way into a network while it is trained or judged: Keras layers in front of it."""

from nas_tf.datasets import PIXEL_MEAN, PIXEL_STD

FEATURES = "features"  # the augmentation of a data set of features, which go into `child` as they are


def with_input_pipeline(child, augmentation, recipe=None, model_type=None, teacher=None):
    """Returns `child` behind layers that rescale images to [-1, 1] and augment them while training.

    The model takes images [batch, size, size, 3] of values from 0 to 255. It returns probabilities, float32
    [batch, heads, classes], where the heads are the outputs of `child`, and the teacher's if there is one.

    Args:
        child: `keras.Model` from images in [-1, 1] to probabilities.
        augmentation: what the data set allows (`nas_tf.datasets.Dataset.augmentation`), or `FEATURES`.
        recipe: `nas_tf.training.recipe.Recipe` that may ask for more augmentation, or None.
        model_type: class of the model; None: `keras.Model`.
        teacher: `keras.Model` that is asked about the very images that `child` gets, while training; or None.
    """
    import keras

    inputs = x = keras.Input(child.inputs[0].shape[1:], name="pixels")
    if recipe and recipe.randaugment_ops:
        factor = recipe.randaugment_factor
        x = keras.layers.RandAugment((0, 255), recipe.randaugment_ops, factor, dtype="float32", name="randaugment")(x)
    if augmentation != FEATURES:
        x = keras.layers.Rescaling(1 / PIXEL_STD, offset=-PIXEL_MEAN / PIXEL_STD, dtype="float32", name="rescale")(x)
    for layer in _augmentations(augmentation):
        x = layer(x)
    if recipe and recipe.cutout_fraction:
        area = (recipe.cutout_fraction**2,) * 2
        x = keras.layers.RandomErasing(
            (1.0, 1.0), area, fill_value=0.0, value_range=(-1.0, 1.0), dtype="float32", name="cutout"
        )(x)
    outputs = child(x)
    heads = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    if teacher is not None:
        from nas_tf.training.teacher import Teacher

        heads.append(Teacher(teacher, name="teacher")(x))
    stacked = keras.ops.stack([keras.ops.cast(head, "float32") for head in heads], axis=1)
    return (model_type or keras.Model)(inputs, stacked)


def _augmentations(name):
    """Returns a list of the layers of an augmentation that a data set allows."""
    from keras.layers import RandomFlip

    from nas_tf.training.augmentation import ResizedCrop, Shift

    layers = {
        "none": lambda: [],
        FEATURES: lambda: [],
        "shift": lambda: [Shift(0.1, dtype="float32", name="shift")],
        "shift_flip": lambda: [Shift(0.125, dtype="float32", name="shift"), flip()],
        "crop_flip": lambda: [ResizedCrop(dtype="float32", name="crop"), flip()],
    }

    def flip():
        return RandomFlip("horizontal", dtype="float32", name="flip")

    return layers[name]()
