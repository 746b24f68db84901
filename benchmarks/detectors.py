"""Detectors on several networks, trained alike and side by side: mean average precision, size and multiply-adds.

python -m benchmarks.detectors --data_dir=scenes.zip --weights=efficientnet_lite0_imagenet.safetensors

`benchmarks.scenes` makes the scenes. The same command goes on where it stopped. EfficientNet-Lite0 is trained from its
weights and from random ones, all other networks from what they inherit of Lite0's.
"""

import dataclasses
import pathlib
import sys

from nas_tf import flags
from nas_tf.detection.folder import has_detector, read_description
from nas_tf.detection.settings import DetectSettings
from nas_tf.detection.training import train_detector
from nas_tf.reports.detection import percent
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("scenes.zip", "Annotated images.", path=True)
    weights: str = knob("efficientnet_lite0", "The trained EfficientNet-Lite0, as --parent takes it.", path=True)
    searched: str = knob("", "Block strings, or the folder, of a network that a search found; empty: none.", path=True)
    out_dir: str = knob("detectors", "Folder with a folder for each detector.", path=True)
    image_size: int = knob(96, "Height and width of the images in pixels.", least=32)
    epochs: int = knob(10, "Epochs of each training.", least=1)
    seed: int = knob(0, "Decides initial weights and the order of images.", least=0)


def main():
    knobs = flags.read(Knobs)
    networks = {
        "efficientnet_lite0, ImageNet": {"parent": knobs.weights},
        "efficientnet_lite0, random": {"architecture": "efficientnet_lite0"},
        "mnasnet_a1, inherited": {"architecture": "mnasnet_a1", "parent": knobs.weights},
        "mobilenet_v2, inherited": {"architecture": "mobilenet_v2", "parent": knobs.weights},
    }
    if knobs.searched:
        networks["searched, inherited"] = {"architecture": knobs.searched, "parent": knobs.weights}
    rows = []
    for name, settings in networks.items():
        folder = pathlib.Path(knobs.out_dir) / name.replace(", ", "_")
        if not has_detector(folder):
            print(f"\n{name}", flush=True)
            train_detector(
                DetectSettings(
                    data_dir=knobs.data_dir,
                    out_dir=str(folder),
                    image_size=knobs.image_size,
                    epochs=knobs.epochs,
                    seed=knobs.seed,
                    **settings,
                )
            )
        rows.append((name, read_description(folder)))
    print(f"\n{'network':<30} parameters  multiply-adds  validation mAP@0.5  test mAP@0.5     test mAP %")
    for name, found in rows:
        validation, test = found.precision["validation"], found.precision["test"]
        print(
            f"{name:<30} {found.num_params / 1e6:8.2f} M {found.mult_adds / 1e6:12,.0f} M "
            f"{percent(validation.map_50, validation.map_50_error):>19} {percent(test.map_50, test.map_50_error):>13} "
            f"{percent(test.map, test.map_error):>14}"
        )
    print(f"command: python -m benchmarks.detectors {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
