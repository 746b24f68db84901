"""The published recipes, and a short one: how long and with what a NASNet is trained.

Weight decay is decoupled from the gradient here (Keras) but went through momentum in the authors' code, where its
steady effect is 1 / (1 - momentum) as large: 5e-4 there is 5e-3 here, 4e-5 is 4e-4.
"""

import dataclasses

from nas_tf.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Plan:
    """A `Recipe`, and the settings of `nasnet_tf.spaces.nasnet.Scale` that belong to it."""

    recipe: Recipe
    drop_path_keep: float = 1.0
    dropout_rate: float = 0.0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-3


PLANS = {
    # For data sets of one's own and minutes: no published recipe.
    "quick": Plan(Recipe(epochs=10, learning_rate=0.025)),
    # tensorflow/models, nasnet.py `cifar_config`; 600 epochs in nasnet/README; cutout: the paper's table 1.
    "cifar": Plan(
        Recipe(
            epochs=600, batch_size=32, learning_rate=0.025, weight_decay=5e-3, warmup_fraction=0.0,
            gradient_clip_norm=5.0, auxiliary_weight=0.4, cutout_fraction=0.5,
        ),
        drop_path_keep=0.6, bn_epsilon=1e-5,
    ),
    # `mobile_imagenet_config` and appendix A.7: 250,000 steps of 50 x 32 images are 312 epochs; learning rate for one
    # batch of 32, to be scaled with the batch. RMSProp's accumulators start at 1 there, at 0 here.
    "imagenet": Plan(
        Recipe(
            epochs=312, batch_size=32, optimizer="rmsprop", learning_rate=0.04, rho=0.9, epsilon=1.0, momentum=0.9,
            weight_decay=4e-4, label_smoothing=0.1, warmup_fraction=0.0, schedule="exponential", decay_rate=0.97,
            decay_epochs=2.4, gradient_clip_norm=10.0, ema_decay=0.9999, auxiliary_weight=0.4,
        ),
        dropout_rate=0.5, bn_momentum=0.9997,
    ),
}  # fmt: skip
