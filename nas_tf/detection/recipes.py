"""How detectors are trained: what the papers' own detectors were trained by, and a short recipe for small data.

The published ones are in steps, of COCO's 118,287 training images: 800,720 steps of 24 images are 162 epochs.
"""

from nas_tf.training.recipe import Plan, Recipe

RECIPES = {
    "short": Plan(
        Recipe(
            epochs=30, batch_size=16, optimizer="adamw", learning_rate=1e-3, weight_decay=1e-4, gradient_clip_norm=10.0
        ),
        about="AdamW, warm-up, one cosine, 30 epochs of 16 images a step",
        source="this project's own, for some thousand images and pretrained weights; published nowhere",
        command="nas-detect train --data_dir=scenes.zip --parent=efficientnet_lite0 --image_size=128 --out_dir=scenes",
        hours="docs/measurements.md has runs on scenes of CIFAR-10, JPEG",
        scale={"bn_momentum": 0.97},
    ),
    "mnasnet": Plan(
        # 200,000 steps in all, in which the rate hardly falls.
        Recipe(
            epochs=41,
            batch_size=24,
            optimizer="rmsprop",
            learning_rate=0.004,
            momentum=0.9,
            rho=0.9,
            epsilon=1.0,
            weight_decay=4e-5,
            weight_decay_form="l2",
            warmup_fraction=0.0,
            schedule="exponential",
            decay_rate=0.95,
            decay_epochs=162.5,
        ),
        about="SSDLite's on MobileNetV2, which MnasNet follows: RMSProp, 0.004 x 0.95, 41 epochs of COCO",
        source="tensorflow/models, object_detection/samples/configs/ssdlite_mobilenet_v2_coco.config; MnasNet, table 3",
        command="nas-detect train --recipe=mnasnet --data_dir=coco --architecture=mnasnet_a1 --image_size=320 "
        "--initial_weights=a1_imagenet --out_dir=a1_coco",
        hours="never run to the end: no mean average precision is claimed",
        scale={"bn_momentum": 0.9997},
    ),
    "nasnet": Plan(
        # To step 1,200,000; the third rate, 3e-6 from there on, is left out.
        Recipe(
            epochs=10,
            batch_size=1,
            learning_rate=3e-4,
            momentum=0.9,
            weight_decay=0.0,
            gradient_clip_norm=10.0,
            warmup_fraction=0.0,
            schedule="exponential",
            decay_rate=0.1,
            decay_epochs=7.6,
            batch_norm="frozen",
        ),
        about="that of NASNet-A's Faster R-CNN: momentum, 3e-4, then 3e-5, batch norm frozen, single images",
        source="tensorflow/models, object_detection/samples/configs/faster_rcnn_nas_coco.config; here its momentum is "
        "Nesterov's, and the head is SSDLite",
        command="nas-detect train --recipe=nasnet --data_dir=coco --architecture=nasnet_a --image_size=320 "
        "--initial_weights=nasnet_mobile.h5 --out_dir=nasnet_coco",
        hours="never run to the end: no mean average precision is claimed",
    ),
}
