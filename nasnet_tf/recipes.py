"""The published recipes of NASNet, and those for data of one's own: how long and with what a network is trained."""

from nas_tf.recipe import PLANS as OWN_DATA_PLANS
from nas_tf.recipe import Plan, Recipe

PLANS = {
    # For minutes: no published recipe.
    "quick": Plan(Recipe(epochs=10, learning_rate=0.025), {"bn_momentum": 0.9}),
    **OWN_DATA_PLANS,
    # tensorflow/models, nasnet.py `cifar_config`; 600 epochs in nasnet/README; cutout: the paper's table 1.
    "cifar": Plan(
        Recipe(
            epochs=600, batch_size=32, learning_rate=0.025, weight_decay=5e-4, weight_decay_form="l2",
            warmup_fraction=0.0, gradient_clip_norm=5.0, auxiliary_weight=0.4, cutout_fraction=0.5,
        ),
        {"bn_momentum": 0.9, "bn_epsilon": 1e-5},
        {"drop_path_keep": 0.6},
    ),
    # `mobile_imagenet_config` and appendix A.7: 250,000 steps of 50 x 32 images are 312 epochs; learning rate 0.04 for
    # each 32 images.
    "imagenet": Plan(
        Recipe(
            epochs=312, batch_size=32, optimizer="rmsprop", learning_rate=0.04, learning_rate_batch=32, rho=0.9,
            epsilon=1.0, momentum=0.9, weight_decay=4e-5, weight_decay_form="l2", label_smoothing=0.1,
            warmup_fraction=0.0, schedule="exponential", decay_rate=0.97, decay_epochs=2.4, gradient_clip_norm=10.0,
            ema_decay=0.9999, auxiliary_weight=0.4,
        ),
        {"bn_momentum": 0.9997, "bn_epsilon": 1e-3, "dropout_rate": 0.5},
    ),
}  # fmt: skip
