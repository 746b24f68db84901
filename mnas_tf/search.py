"""Searches a mobile network for accuracy within a measured latency (MnasNet, arXiv 1807.11626).

mnas-search --run_dir=runs/flowers --dataset=image_folder --data_dir=flowers/ --num_trials=200

Each trial trains a child at the proxy scale and times its deployment network, converted to TFLite, on --device. The
same command on the same --run_dir goes on where it stopped.
"""

import dataclasses

from nas_tf import flags, run
from nas_tf.evaluation import Setup
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.rewards import Limits, Objective
from nas_tf.training import ProxyRecipe

PART_FOLDERS = ("mnas_tf.spaces", "nas_tf.datasets", "nas_tf.devices", "nas_tf.algorithms")
REFERENCES = ("mnasnet_a1", "mobilenet_v2", "nasnet_mobile")


@dataclasses.dataclass(frozen=True)
class Settings(run.Settings):
    """The knobs of every search, and this family's space and widths."""

    search_space: str = knob("mnasnet", "Search space.", folder="mnas_tf.spaces")
    proxy_width_multiplier: float = knob(0.5, "Factor on the filters of the children that are trained.")
    deploy_width_multiplier: float = knob(1.0, "Factor on the filters of the network that ships.")


def search(settings, objective=None, limits=None, proxy=None, parts=None, say=print):
    """Runs, or goes on with, the search of `settings` and gives its `nas_tf.run.Result`.

    `parts` holds settings of parts by name, as in `{"ppo": {"learning_rate": 1e-3}}`; `say` takes each line of text.

    Raises:
        nas_tf.trial.UserError: something that the caller has to mend.
        nas_tf.trial.EvaluationError: the world broke in mid-run; the same call goes on from there.
    """
    names = dict(zip(PART_FOLDERS, (settings.search_space, settings.dataset, settings.device, settings.algorithm)))
    space, dataset, device, algorithm = (
        Part(folder, name, (parts or {}).get(name, {})) for folder, name in names.items()
    )
    objective, limits, proxy = objective or Objective(), limits or Limits(), proxy or ProxyRecipe()
    num_classes = run.num_classes(dataset, settings)
    scale = space.module.Scale
    setup = Setup(
        space=space,
        dataset=dataset,
        data_dir=settings.data_dir or None,
        # Few steps: a moving average over 100 of them would still hold its initial values, and dropout only slows them.
        proxy_scale=scale(
            settings.proxy_image_size, num_classes, settings.proxy_width_multiplier, bn_momentum=0.9, dropout_rate=0.0
        ),
        deploy_scale=scale(settings.deploy_image_size, num_classes, settings.deploy_width_multiplier, bn_momentum=0.9),
        recipe=proxy.recipe,
        proxy_samples=settings.proxy_samples,
        seed=settings.seed,
        device=device,
        references="mnas_tf.published",
    )
    wanted = objective.target_latency_of
    references = REFERENCES if wanted in REFERENCES else (*REFERENCES, wanted)
    return run.run(run.Request(settings, objective, limits, proxy, setup, algorithm, references), say)


def main():
    settings = flags.read(Settings)
    names = (settings.search_space, settings.dataset, settings.device, settings.algorithm)
    parts = {name: flags.read_part(folder, name).settings for folder, name in zip(PART_FOLDERS, names)}
    search(settings, flags.read(Objective), flags.read(Limits), flags.read(ProxyRecipe), parts)


def cli():
    for config in (Settings, Objective, Limits, ProxyRecipe):
        flags.define(config)
    for folder in PART_FOLDERS:
        flags.define_parts(folder)
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()
