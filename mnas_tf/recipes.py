"""The published recipe of MnasNet, and those for data of one's own: how long and with what a network is trained."""

from nas_tf.recipe import PLANS as OWN_DATA_PLANS
from nas_tf.recipe import Plan, Recipe

PLANS = {
    # For minutes: no published recipe.
    "quick": Plan(Recipe(epochs=10), {"bn_momentum": 0.9}),
    **OWN_DATA_PLANS,
    # The paper, section 4, and tensorflow/tpu, `models/official/mnasnet/mnasnet_main.py`: learning rate 0.016 for each
    # 256 images (0.256 at 4096), 437,898 steps of 1024 are 350 epochs; RMSProp's epsilon: `efficientnet/utils.py`.
    "imagenet": Plan(
        Recipe(
            epochs=350, batch_size=256, optimizer="rmsprop", learning_rate=0.016, learning_rate_batch=256, rho=0.9,
            epsilon=1e-3, momentum=0.9, weight_decay=1e-5, weight_decay_form="l2", decay_biases=True,
            label_smoothing=0.1, warmup_epochs=5.0, schedule="exponential", decay_rate=0.97, decay_epochs=2.4,
            ema_decay=0.9999,
        ),
        {"bn_momentum": 0.99, "bn_epsilon": 1e-3, "dropout_rate": 0.2},
    ),
}  # fmt: skip
