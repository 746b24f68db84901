"""Published networks of any width, to be trained beside what a search found."""

import dataclasses

from nas_tf import families
from nas_tf.trial import UserError


def builder(name, deploy_scale, scale_settings):
    """`(build, scale_of)`: `build(scale_of(width multiplier))` is the `keras.Model` of the published network called
    `name`, at the image size and classes of `deploy_scale`.

    `scale_settings` is a dict of settings for its family's `Scale`; what that has no room for is left out. Batch
    normalisation gets their `bn_momentum` in Keras's own networks too, whose 0.999 forgets too slowly for short
    trainings.

    Raises:
        UserError: no published network has that name, or it has but one width.
    """
    module = families.published(name)
    fields = {field.name for field in dataclasses.fields(module.Scale)}
    if "width_multiplier" not in fields or name in module.ONE_WIDTH:
        raise UserError(f"Expected --baselines that can be made wider and narrower. Received: {name}")
    settings = {key: value for key, value in scale_settings.items() if key in fields}

    def scale_of(width):
        return module.Scale(deploy_scale.image_size, deploy_scale.num_classes, width_multiplier=width, **settings)

    def build(scale):
        import keras

        model = module.build(name, scale)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization) and "bn_momentum" in settings:
                layer.momentum = settings["bn_momentum"]
        return model

    return build, scale_of
