"""The whole job: from images to the network that ships, the best of all that there is time for.

nas-make flowers.zip --target_latency_ms=20
nas-make flowers/ --hours=8 --preset=long --device=android
nas-make flowers.zip --preset=quick --search=none
nas-make --dataset=tfds --tfds_name=tf_flowers --data_dir=~/tensorflow_datasets

It looks at the images, times published networks on the device, fine-tunes those that meet the target from their
pretrained weights, and ships the best of them. Then it searches networks that begin with its weights, trains the best
of these, and ships the best of all. Ctrl-C at any time: what ships so far is in the folder, whole, and the same command
goes on. Every flag of a search decides what it would decide there; whatever is not given follows from the images.
"""

import functools

from nas_tf import flags, plugins
from nas_tf.making.job import make
from nas_tf.making.settings import LEFT_OUT, Asked, MakeSettings, family_with_weights, folders
from nas_tf.rewards import Limits
from nas_tf.search.request import settings_of_parts
from nas_tf.trial import UserError


def main(words):
    family = family_with_weights()
    search = flags.given(family.search_settings)
    if len(words) > 1 or bool(words) == bool(search.keys() & {"dataset", "data_dir"}):
        raise UserError(
            "Expected a folder or a zip of images, as in nas-make flowers.zip, or --dataset and --data_dir in its "
            f"place. Received: {' '.join([*words, *sorted(search.keys() & {'dataset', 'data_dir'})]) or 'none'}"
        )
    every = ((folder, name) for folder in folders() for name in plugins.names(folder))
    parts = settings_of_parts(every, lambda folder, name: flags.read_part(folder, name).settings)
    asked = Asked(
        images=words[0] if words else "",
        settings=flags.read(MakeSettings),
        search=search,
        target=flags.given(type(family.objective)),
        limits=flags.read(Limits),
        proxy=flags.read(type(family.proxy)),
        parts={name: values for name, values in parts.items() if values},
    )
    make(asked, functools.partial(print, flush=True))  # a file or a pipe has each line at once


def cli():
    family = family_with_weights()
    flags.define(MakeSettings)
    flags.define(family.search_settings, leave_out=LEFT_OUT)
    for config in (family.objective, Limits, family.proxy):
        flags.define(config)
    for folder in folders():
        flags.define_parts(folder)
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
