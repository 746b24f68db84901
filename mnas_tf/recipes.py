"""The recipes of MnasNet: the published one, and those for your own images."""

from nas_tf.training.recipe import PLANS as OWN_DATA_PLANS
from nas_tf.training.recipe import Plan, Recipe

PLANS = {
    "quick": Plan(
        Recipe(epochs=10),
        about="SGD, one cosine, 10 epochs",
        source="this project's own, for minutes; published nowhere",
        command="mnas-train --architecture=mnasnet_a1 --image_size=96 --out_dir=a1",
        hours="by number of images; docs/measurements.md has the images a second of a CPU",
        scale={"bn_momentum": 0.9},
    ),
    **OWN_DATA_PLANS,
    "imagenet": Plan(
        # Learning rate 0.016 for each 256 images (0.256 at 4096); 437,898 steps of 1024 are 350 epochs.
        Recipe(
            epochs=350,
            batch_size=256,
            optimizer="rmsprop",
            learning_rate=0.016,
            learning_rate_batch=256,
            rho=0.9,
            epsilon=1e-3,
            momentum=0.9,
            weight_decay=1e-5,
            weight_decay_form="l2",
            decay_biases=True,
            label_smoothing=0.1,
            warmup_epochs=5.0,
            schedule="exponential",
            decay_rate=0.97,
            decay_epochs=2.4,
            ema_decay=0.9999,
        ),
        about="the paper's: RMSProp, warm-up, averaged weights, 350 epochs",
        source="MnasNet, section 4; tensorflow/tpu, models/official/mnasnet/mnasnet_main.py; RMSProp's epsilon: "
        "models/official/efficientnet/utils.py",
        command="mnas-train --architecture=mnasnet_a1 --dataset=tfds --tfds_name=imagenet2012 --recipe=imagenet "
        "--batch_size=1024 --out_dir=a1_imagenet",
        hours="never run to the end: no accuracy is claimed",
        scale={"bn_momentum": 0.99, "bn_epsilon": 1e-3, "dropout_rate": 0.2},
    ),
}
