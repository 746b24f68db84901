"""The search command of a family: its flags, and the search that they ask for."""

from nas_tf import flags
from nas_tf.rewards import Limits, Objective
from nas_tf.search.request import folders, settings_of_parts
from nas_tf.search.run import search
from nas_tf.search.settings import ALGORITHMS, DATASETS, DEVICES, JUDGES, WORKERS
from nas_tf.training.recipe import ProxyRecipe


def cli(family, usage):
    """Defines the flags of a family's search, parses the command line and runs it."""

    def main():
        settings = flags.read(family.search_settings)
        chosen = folders(family, settings).items()
        parts = settings_of_parts(chosen, lambda folder, name: flags.read_part(folder, name).settings)
        search(family, settings, flags.read(Objective), flags.read(Limits), flags.read(ProxyRecipe), parts)

    for config in (family.search_settings, family.objective, Limits, family.proxy):
        flags.define(config)
    for folder in (family.space_folder, DATASETS, JUDGES, DEVICES, ALGORITHMS, WORKERS):
        flags.define_parts(folder)
    flags.run(main, usage)
