"""The search command of a family: its flags, and the request that they make. What differs stands in `Family`."""

import dataclasses
import typing

from nas_tf import flags, run
from nas_tf.evaluation import Setup
from nas_tf.plugins import Part
from nas_tf.recipe import ProxyRecipe
from nas_tf.rewards import Limits, Objective


@dataclasses.dataclass(frozen=True)
class Family:
    """What one family's search is made of.

    `settings` extends `nas_tf.run.Settings` by the family's space and scales; `scales(settings, Scale, num_classes)`
    gives the proxy's and the deployment's. `published` is a module with `architecture(name)` and `build(name, scale)`,
    `references` the networks of it that are measured beside a search. The values of `objective` and `proxy` are the
    defaults of their flags.
    """

    settings: type
    space_folder: str
    scales: typing.Callable
    published: str
    references: tuple[str, ...]
    objective: Objective = dataclasses.field(default_factory=Objective)
    proxy: ProxyRecipe = dataclasses.field(default_factory=ProxyRecipe)

    def folders(self, settings):
        """dict of plug-in folder to the part of it that `settings` choose; a device called none is left out."""
        chosen = {
            self.space_folder: settings.search_space,
            "nas_tf.datasets": settings.dataset,
            "nas_tf.devices": settings.device,
            "nas_tf.algorithms": settings.algorithm,
        }
        return {folder: name for folder, name in chosen.items() if name != "none"}


def search(family, settings, objective=None, limits=None, proxy=None, parts=None, say=print):
    """Runs, or goes on with, the search of `settings` and gives its `nas_tf.run.Result`.

    `parts` holds settings of parts by name, as in `{"ppo": {"learning_rate": 1e-3}}`; `say` takes each line of text.

    Raises:
        nas_tf.trial.UserError: something that the caller has to mend.
        nas_tf.trial.EvaluationError: the world broke in mid-run; the same call goes on from there.
    """
    chosen = {
        folder: Part(folder, name, (parts or {}).get(name, {})) for folder, name in family.folders(settings).items()
    }
    space, dataset = chosen[family.space_folder], chosen["nas_tf.datasets"]
    objective, limits, proxy = objective or family.objective, limits or Limits(), proxy or family.proxy
    proxy_scale, deploy_scale = family.scales(settings, space.module.Scale, run.num_classes(dataset, settings))
    setup = Setup(
        space=space,
        dataset=dataset,
        data_dir=settings.data_dir or None,
        proxy_scale=proxy_scale,
        deploy_scale=deploy_scale,
        recipe=proxy.recipe,
        proxy_samples=settings.proxy_samples,
        seed=settings.seed,
        device=chosen.get("nas_tf.devices"),
        number_type=settings.deploy_number_type,
        references=family.published,
    )
    references = tuple(dict.fromkeys((*family.references, objective.target_latency_of)))
    algorithm = chosen["nas_tf.algorithms"]
    return run.run(run.Request(settings, objective, limits, proxy, setup, algorithm, references), say)


def cli(family, usage):
    """Defines the flags of a family's search, parses the command line and runs it."""

    def main():
        settings = flags.read(family.settings)
        parts = {name: flags.read_part(folder, name).settings for folder, name in family.folders(settings).items()}
        search(family, settings, flags.read(Objective), flags.read(Limits), flags.read(ProxyRecipe), parts)

    for config in (family.settings, family.objective, Limits, family.proxy):
        flags.define(config)
    for folder in (family.space_folder, "nas_tf.datasets", "nas_tf.devices", "nas_tf.algorithms"):
        flags.define_parts(folder)
    flags.run(main, usage)
