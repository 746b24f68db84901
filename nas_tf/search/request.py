"""All that a search was asked for, from its settings or from a run's config.json."""

import dataclasses
import os
import pathlib

from nas_tf import plugins
from nas_tf.datasets import Source
from nas_tf.family import Family
from nas_tf.judges import Task
from nas_tf.plugins import Part
from nas_tf.rewards import Limits, Objective
from nas_tf.search.evaluation import Setup
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.settings import ALGORITHMS, DATASETS, DEVICES, JUDGES, WORKERS, SearchSettings
from nas_tf.settings import flag_name
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Request:
    """All that a run needs: the settings, the parts they name, and the published networks measured beside it."""

    family: Family
    settings: SearchSettings
    objective: Objective
    limits: Limits
    proxy: ProxyRecipe
    setup: Setup
    algorithm: Part
    workers: Part
    published: tuple[str, ...]

    @property
    def parts(self):
        """tuple of the `Part`s that decide what is tried and measured."""
        setup = self.setup
        return (*filter(None, (setup.task.space, setup.task.images.part, setup.judge, setup.device)), self.algorithm)

    def deciding_flags(self):
        """Returns a dict from flag to value of the settings that decide what is tried and measured, in one spelling.

        Of a part that is a file of the user's own it has the name of the file.
        """
        fields = {}
        for each in (self.settings, self.objective, self.limits, self.proxy):
            fields |= {field.name: field for field in dataclasses.fields(each)}
        for part in self.parts:
            fields |= {flag_name(field, plugins.prefix_of(part.name)): field for field in _fields_of(part.module)}
        return {
            flag: _spelled(fields[flag], value)
            for flag, value in self.flags().items()
            if flag in fields and fields[flag].metadata.get("decides", True)
        }

    def flags(self):
        """Returns a dict from flag to value of all settings; of those of parts, without what is left at its default."""
        values = {}
        for each in (self.settings, self.objective, self.limits, self.proxy):
            values |= dataclasses.asdict(each)
        for part in (*self.parts, self.workers):
            values |= part.flags()
        return values


def _spelled(field, value):
    if not isinstance(value, str) or not value:
        return value
    if value.endswith(".py"):
        return pathlib.Path(value).name
    is_path = field.metadata.get("program") or field.metadata.get("path")
    return os.path.abspath(os.path.expanduser(value)) if is_path else value


def folders(family, settings):
    """Returns a dict from plug-in folder to the name of the part that `settings` choose, without a device `none`."""
    chosen = {
        family.space_folder: settings.search_space,
        DATASETS: settings.dataset,
        JUDGES: settings.judge,
        DEVICES: settings.device,
        ALGORITHMS: settings.algorithm,
        WORKERS: settings.workers,
    }
    return {folder: name for folder, name in chosen.items() if (folder, name) != (DEVICES, "none")}


def make_request(family, settings, objective=None, limits=None, proxy=None, parts=None):
    """Returns the `Request` of a search's settings.

    Args:
        family: the `nas_tf.family.Family`.
        settings: an instance of its `search_settings`.
        objective, limits, proxy: the other settings; None: the family's defaults.
        parts: dict from a part's name to its settings, as in `{"ppo": {"learning_rate": 1e-3}}`.
    """
    parts = plugins.expand_all(parts)
    chosen = folders(family, settings)
    chosen = {folder: Part(folder, name, _own_settings(folder, chosen, parts)) for folder, name in chosen.items()}
    if not getattr(chosen[JUDGES].module, "TRAINS", True):
        settings = dataclasses.replace(settings, final_epochs=0)
    objective, limits, proxy = objective or family.objective, limits or Limits(), proxy or family.proxy
    space = chosen[family.space_folder]
    images = Source(chosen[DATASETS], settings.data_dir, settings.seed, settings.raced_fraction)
    num_classes = images.make(settings.proxy_image_size, settings.proxy_samples).num_classes
    proxy_scale, deploy_scale = family.search_scales(settings, space.module.Scale, num_classes)
    if settings.parent:
        parent = family.parent(settings.parent)
        proxy_scale, deploy_scale = parent.scale(proxy_scale), parent.scale(deploy_scale)
        around = space.space.settings_around(parent.architecture)
        space = dataclasses.replace(space, settings={**around, **_space_settings(chosen[JUDGES]), **space.settings})
    child_scale = getattr(chosen[JUDGES].module, "child_scale", lambda proxy, deploy: proxy)
    task = Task(
        space=space,
        images=images,
        proxy_scale=child_scale(proxy_scale, deploy_scale),
        deploy_scale=deploy_scale,
        recipe=proxy.recipe,
        proxy_samples=settings.proxy_samples,
        seed=settings.seed,
        published=family.published,
        parent=settings.parent or "",
    )
    setup = Setup(
        task=task,
        judge=chosen[JUDGES],
        device=chosen.get(DEVICES),
        number_type=settings.deploy_number_type,
        judge_folder=str(RunFolder(settings.run_dir).judge),
        detector_classes=settings.deploy_head_classes if settings.deploy_head == "ssdlite" else 0,
    )
    return Request(
        family=family,
        settings=settings,
        objective=objective,
        limits=limits,
        proxy=proxy,
        setup=setup,
        algorithm=chosen[ALGORITHMS],
        workers=chosen[WORKERS],
        published=tuple(dict.fromkeys((*family.published_beside, objective.target_latency_of))),
    )


def settings_of_parts(parts, read):
    """Returns a dict from a part's name to its settings, of pairs of plug-in folder and part.

    `read(folder, name)` returns those of one. A judge and a device may have one name; theirs are put together.
    """
    found = {}
    for folder, name in parts:
        found.setdefault(name, {}).update(read(folder, name))
    return found


def _own_settings(folder, chosen, parts):
    """Returns those of the settings of a part's name that are not another part's of the same name."""
    name = chosen[folder]
    given = parts.get(name, {})
    others = [each for each, other in chosen.items() if other == name and each != folder]
    theirs = {field.name for each in others for field in _fields_of(plugins.load(each, name))}
    ours = {field.name for field in _fields_of(plugins.load(folder, name))} if others else ()
    return {setting: value for setting, value in given.items() if setting in ours or setting not in theirs}


def _space_settings(judge):
    """Returns a dict of the settings that a judge says its search space to have."""
    ask = getattr(judge.module, "space_settings", None)
    return ask(judge.module.Config(**judge.settings)) if ask else {}


def objective_of(values):
    """Returns the `nas_tf.rewards.Objective` of a run whose `Request.flags()` are the dict `values`."""
    return _instance(Objective, values)


def remade_request(family, values, where, own, **changes):
    """Returns the `Request` of a run whose `Request.flags()` are in a file.

    Args:
        family: the `nas_tf.family.Family`.
        values: the dict of flags.
        where: the file that holds them, for messages.
        own: dict from setting to the user's own file of a part that this command names; no other is run.
        changes: settings in place of those in `values`.

    Raises:
        UserError: a part or a setting no longer exists, or may not run.
    """
    settings = _instance(family.search_settings, {**values, **changes})
    for field in dataclasses.fields(settings):
        folder, name = field.metadata.get("folder"), getattr(settings, field.name)
        if folder and name not in field.metadata.get("also", ()):
            plugins.refuse_from_file(folder, name, where, field.name, own.get(field.name, ""))
    parts = settings_of_parts(
        folders(family, settings).items(), lambda folder, name: _part_settings(folder, name, values)
    )
    _refuse_programs(settings.device, values, where)
    _refuse_code(settings.dataset, values, where, own.get("dataset", ""))
    return make_request(
        family, settings, _instance(Objective, values), _instance(Limits, values), _instance(ProxyRecipe, values), parts
    )


def _refuse_programs(device, values, where):
    """Raises `UserError` if the flags of a device, which a file holds, name a program that would be run."""
    for field in _fields_of(plugins.load(DEVICES, device)) if device != "none" else ():
        flag = flag_name(field, plugins.prefix_of(device))
        if field.metadata.get("program") and values.get(flag):
            raise UserError(
                f"{where} names the program {values[flag]} as --{flag}. A program that a file names is not run: give "
                f"--device={device} --{flag}={values[flag]} if you trust it"
            )


def _refuse_code(dataset, values, where, own):
    """Raises `UserError` if the flags of a data set, which a file holds, name code to run, other than `own`."""
    for field in _fields_of(plugins.load(DATASETS, dataset)):
        flag, runs_code = flag_name(field, plugins.prefix_of(dataset)), field.metadata.get("runs_code")
        value = values.get(flag)
        if runs_code and value is not None and value != own and runs_code(value):
            raise UserError(
                f"{where} names {value} as --{flag}, whose code would be fetched and run. Code that a file names is "
                f"not run: give --dataset={value} if you trust it"
            )


def _fields_of(module):
    return dataclasses.fields(getattr(module, "SPACE", None) or module.Config)


def _instance(config_type, values):
    known = {field.name: values[field.name] for field in dataclasses.fields(config_type) if field.name in values}
    return config_type(**known)


def _part_settings(folder, name, values):
    """Returns a dict of a part's settings, as `Part.flags` wrote them into a run's flags."""
    fields = _fields_of(plugins.load(folder, name))
    flag_of = {field.name: flag_name(field, plugins.prefix_of(name)) for field in fields}
    listed = {setting: values[flag] for setting, flag in flag_of.items() if flag in values}
    return {setting: tuple(value) if isinstance(value, list) else value for setting, value in listed.items()}
