"""Neural architecture search for mobile vision: what both searches share. It knows neither MnasNet nor NASNet.

* `trial`, `accuracy`, `space`, `settings`, `rewards`, `ranking`: what is asked, answered, measured, rewarded, picked.
* `files`, `resume`, `plugins`, `flags`, `quiet`, `bars`, `stopping`, `recycling`, `complexity`, `export`, `family`:
  tools.
* `algorithms/`: what suggests architectures, one search algorithm in each file.
* `datasets/`: images, one data set in each file; the images that calibrate int8 files.
* `devices/`: where latency comes from, one source in each file: this machine, a phone, a table.
* `judges/`: where accuracy comes from, one source in each file: `proxy` trains a child, `inherited` one with weights,
  `blocks` adds it up from a table.
* `networks/`: what Keras networks are built of, their weights, and a trained network's folder.
* `training/`: a network and images in, weights and an accuracy out: recipes, augmentation, optimizers, checkpoints.
* `reports/`: plain data in; text, CSV, pictures and pages out.
* `latency_tables/`: making a latency table: timing units, and fitting how they add up.
* `accuracy_tables/`: making an accuracy table, by repairing blocks; choosing the exact best networks by both tables.
* `search/`: a search from what was asked for to what it leaves behind; `search/workers/`: where evaluations run.
* `shipping/`: from a finished search to files that ship: full training, TFLite files, metadata.
* `making/`: from images to what ships, in one go: its stages, and what there is time for. `make` is its function.
* `detection/`: SSDLite detectors on networks of both families: data, anchors, loss, training, precision, files.
* `apps/`: commands, one in each file.

A folder that holds one part in each file is a plug-in folder: its `__init__.py` states what each file promises.
"""

import importlib

__version__ = "0.2.0"


def make(images="", **settings):
    """Does the whole job of nas-make, or goes on with it, as `nas_tf.making.made.make` does.

    made = nas_tf.make("flowers.zip", target_latency_ms=20)
    """
    return importlib.import_module("nas_tf.making.made").make(images, **settings)
