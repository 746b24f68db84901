"""The search command of a family: its flags, and the request that they make. What differs stands in `Family`."""

import dataclasses
import typing

from nas_tf import flags, plugins, run
from nas_tf.evaluation import Setup
from nas_tf.plugins import Part
from nas_tf.recipe import ProxyRecipe
from nas_tf.rewards import Limits, Objective


@dataclasses.dataclass(frozen=True)
class Family:
    """What one family's search is made of.

    `settings` extends `nas_tf.run.Settings` by the family's space and scales; `scales(settings, Scale, num_classes)`
    gives the proxy's and the deployment's. `published` is a module with `architecture(name)` and `build(name, scale)`,
    `references` the networks of it that are measured beside a search. `plans` are recipes by name
    (`nas_tf.recipe.Plan`), for networks that ship. The values of `objective` and `proxy` are the defaults of their
    flags.
    """

    settings: type
    space_folder: str
    scales: typing.Callable
    published: str
    references: tuple[str, ...]
    plans: dict
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
    return run.run(make_request(family, settings, objective, limits, proxy, parts), say)


def make_request(family, settings, objective=None, limits=None, proxy=None, parts=None):
    """The `nas_tf.run.Request` of a search's settings. Arguments: `search`."""
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
    return run.Request(settings, objective, limits, proxy, setup, algorithm, references)


def remade_request(family, values, **changes):
    """The `nas_tf.run.Request` of a run whose `Request.flags()` were `values`, with other settings in `changes`.

    Raises:
        UserError: a part or a setting is none any more.
    """
    settings = _instance(family.settings, {**values, **changes})
    parts = {name: _part_settings(folder, name, values) for folder, name in family.folders(settings).items()}
    return make_request(
        family, settings, _instance(Objective, values), _instance(Limits, values), _instance(ProxyRecipe, values), parts
    )


def _instance(config_type, values):
    known = {field.name: values[field.name] for field in dataclasses.fields(config_type) if field.name in values}
    return config_type(**known)


def _part_settings(folder, name, values):
    """dict: a part's settings, as `Part.flags` wrote them into a run's flags."""
    module = plugins.load(folder, name)
    fields = dataclasses.fields(getattr(module, "SPACE", None) or module.Config)
    flag_of = {field.name: flags.flag_name(field, f"{name}_") for field in fields}
    listed = {setting: values[flag] for setting, flag in flag_of.items() if flag in values}
    return {setting: tuple(value) if isinstance(value, list) else value for setting, value in listed.items()}


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
