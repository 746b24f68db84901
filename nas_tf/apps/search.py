"""The search command of a family: its flags, and the search that they ask for."""

from nas_tf import flags
from nas_tf.rewards import Limits, Objective
from nas_tf.search.request import ALGORITHMS, DATASETS, DEVICES, JUDGES, WORKERS, folders
from nas_tf.search.run import search
from nas_tf.training.recipe import ProxyRecipe


def cli(family, usage):
    """Defines the flags of a family's search, parses the command line and runs it."""

    def main():
        settings = flags.read(family.search_settings)
        parts = {name: flags.read_part(folder, name).settings for folder, name in folders(family, settings).items()}
        search(family, settings, flags.read(Objective), flags.read(Limits), flags.read(ProxyRecipe), parts)

    for config in (family.search_settings, family.objective, Limits, family.proxy):
        flags.define(config)
    for folder in (family.space_folder, DATASETS, JUDGES, DEVICES, ALGORITHMS, WORKERS):
        flags.define_parts(folder)
    flags.run(main, usage)
