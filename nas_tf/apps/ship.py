"""Trains a search's best networks in full, chooses one, and writes what ships: Keras, SavedModel for TF Hub, TFLite in
float and int8, and a model card. Each file's accuracy and latency is measured. Published networks of equal latency are
trained beside it.

nas-ship runs/flowers --top_k=5
nas-ship runs/flowers --recipe=adamw --epochs=100 --device=android --quantization_friendly
nas-ship runs/detectors --task=detection --detection_data_dir=coco.zip

The same command goes on where it stopped. Everything is in runs/flowers/ship/.
"""

from nas_tf import flags
from nas_tf.detection.settings import ShipTask
from nas_tf.shipping.chain import ship
from nas_tf.shipping.settings import ShipSettings
from nas_tf.training.machine import Machine
from nas_tf.trial import UserError


def main(words):
    if len(words) != 1:
        raise UserError(f"Expected one run folder, as in nas-ship runs/flowers. Received: {' '.join(words) or 'none'}")
    settings, task = flags.read(ShipSettings), flags.read(ShipTask)
    if task.task == "detection":
        _ship_detectors(words[0], settings, task)
        return
    if task.detection_data_dir:
        raise UserError(f"--detection_data_dir needs --task=detection. Received: {task.detection_data_dir!r} alone")
    device = flags.read_part("nas_tf.devices", settings.device).settings if settings.device else {}
    workers = flags.read_part("nas_tf.search.workers", settings.workers).settings
    ship(words[0], settings, flags.read(Machine), device, workers_settings=workers)


def _ship_detectors(run_dir, settings, task):
    from nas_tf.detection.finalists import ship_detectors

    device = flags.read_part("nas_tf.devices", settings.device).settings if settings.device else {}
    ship_detectors(run_dir, settings, task, device)


def cli():
    flags.define(ShipSettings)
    flags.define(ShipTask)
    flags.define(Machine)
    flags.define_parts("nas_tf.devices")
    flags.define_parts("nas_tf.search.workers")
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
