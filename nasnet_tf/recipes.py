"""The recipes of NASNet: the published ones, and those for your own images."""

from nas_tf.training.recipe import PLANS as OWN_DATA_PLANS
from nas_tf.training.recipe import Plan, Recipe

PLANS = {
    "quick": Plan(
        Recipe(epochs=10, learning_rate=0.025),
        about="SGD, one cosine, 10 epochs",
        source="this project's own, for minutes; published nowhere",
        command="nasnet-train --architecture=nasnet_a --cells=2 --filters=16 --image_size=64 --out_dir=a",
        hours="by number of images; docs/measurements.md has the images a second of a CPU",
        scale={"bn_momentum": 0.9},
    ),
    **OWN_DATA_PLANS,
    "cifar": Plan(
        Recipe(
            epochs=600,
            batch_size=32,
            learning_rate=0.025,
            weight_decay=5e-4,
            weight_decay_form="l2",
            warmup_fraction=0.0,
            gradient_clip_norm=5.0,
            auxiliary_weight=0.4,
            cutout_fraction=0.5,
        ),
        about="the paper's for CIFAR-10: cutout, auxiliary loss 0.4, ScheduledDropPath, gradient clipping, 600 epochs",
        source="tensorflow/models, nasnet.py `cifar_config`; 600 epochs: nasnet/README; cutout: NASNet, table 1",
        command="nasnet-train --recipe=cifar --stem=cifar --cells=6 --filters=32 --image_size=32 --out_dir=a",
        hours="never run to the end: no accuracy is claimed",
        scale={"bn_momentum": 0.9, "bn_epsilon": 1e-5},
        train_scale={"drop_path_keep": 0.6},
    ),
    "imagenet": Plan(
        # 250,000 steps of 50 x 32 images are 312 epochs; learning rate 0.04 for each 32 images.
        Recipe(
            epochs=312,
            batch_size=32,
            optimizer="rmsprop",
            learning_rate=0.04,
            learning_rate_batch=32,
            rho=0.9,
            epsilon=1.0,
            momentum=0.9,
            weight_decay=4e-5,
            weight_decay_form="l2",
            label_smoothing=0.1,
            warmup_fraction=0.0,
            schedule="exponential",
            decay_rate=0.97,
            decay_epochs=2.4,
            gradient_clip_norm=10.0,
            ema_decay=0.9999,
            auxiliary_weight=0.4,
        ),
        about="the paper's for ImageNet: RMSProp, label smoothing, auxiliary loss, averaged weights, 312 epochs",
        source="tensorflow/models, nasnet.py `mobile_imagenet_config`; NASNet, appendix A.7",
        command="nasnet-train --recipe=imagenet --dataset=tfds --tfds_name=imagenet2012 --out_dir=a_imagenet",
        hours="never run to the end: no accuracy is claimed",
        scale={"bn_momentum": 0.9997, "bn_epsilon": 1e-3, "dropout_rate": 0.5},
    ),
}
