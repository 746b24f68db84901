"""A run folder: the places of its files, and its identity, which is everything that decides a measurement."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re

import nas_tf
from nas_tf import resume
from nas_tf.files import digest, load_json, write_json
from nas_tf.judges import KEPT
from nas_tf.trial import UserError, first_line

# What a description of the data says of where they lie and how they are read, not of what they are.
_OF_THE_PLACE = ("source", "image_size", "files_ignored", "bad_images_skipped", "largest_class")
# What the run folders of earlier versions lack, with the values of that time.
_EARLIER_FLAGS = {
    "deploy_number_type": "float32",
    "judge": "proxy",
    "deploy_head": "none",
    "deploy_head_classes": 90,
}
_EARLIER = {"judge": {"judge": "proxy"}, "judge_files": {}, "measured_under": {}, "versions": {}}
PROJECT = "mobile-nas-tf"
_PACKAGES = ("keras", "tensorflow", "ai-edge-litert")


class RunFolder:
    """The files of one run, all under `path`."""

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser()
        self.config = self.path / "config.json"
        self.records = self.path / "trials.sqlite"
        self.judge = self.path / "judge"
        self.tensorboard = self.path / "tensorboard"
        self.workers_log = self.path / "workers.log"
        self.pareto_csv = self.path / "pareto.csv"
        self.pareto_png = self.path / "pareto.png"
        self.best = self.path / "best"

    def open(self, flags, deciding, device, space, judge, data, parts, has_begun, records, say=print):
        """Makes the folder, or checks that it was made with the same settings.

        What changes no measurement may be asked for otherwise. Before the run has begun, all settings may change.

        Args:
            flags: dict of all flags, which config.json keeps.
            deciding: `nas_tf.search.request.Request.deciding_flags()`.
            device, space, judge: JSON-ready dicts of what the run is asked for.
            data: `nas_tf.datasets.Dataset.facts()` of the images.
            parts: the `nas_tf.plugins.Part`s of the run.
            has_begun: whether the run has measured anything yet.
            records: the run's `nas_tf.search.records.Records`, which hold the identity too.
            say: takes a line of text for what differs and changes no measurement.

        Raises:
            UserError: a setting, the data, a file or a version differs (all that do are named); the folder is another
                command's; or config.json is damaged.
        """
        versions = _versions()
        asked = {"flags": flags, "device": device, "space": space, "judge": judge}
        identity = resume.as_json(
            {**_measured_under(deciding, device, space, judge, data, versions), **_own_files(parts)}
        )
        if has_begun and not self.config.exists():
            made = records.identity() or {}
            self._refuse_earlier_version({"measured_under": made, "versions": {}})
            self._refuse_other(made, identity)
            say(f"{self.config} is missing: it is made anew from this command")
        elif has_begun:
            made = self.read()
            self._refuse_other_command(made, space)
            self._refuse_earlier_version(made)
            self._refuse_other(made["measured_under"], identity)
            for name, version in versions.items():
                if made["versions"].get(name) not in (None, version):
                    say(f"{name} is {version}; this run was begun with {made['versions'][name]}")
            # What may change is what the run is now: nas-ship looks for images and files of the user's own there.
            write_json(self.config, {**made, **resume.as_json(asked)})
            return
        elif (self.path / "architecture.json").exists():
            raise UserError(f"{self.path} holds a trained network. Choose another --run_dir for a search")
        write_json(
            self.config,
            {
                **resume.as_json(asked),
                "judge_files": {},
                "measured_under": identity,
                "versions": versions,
                "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )
        records.set_identity(identity)

    def check_judge_files(self):
        """Records the files that the judge has made, and when the run goes on refuses files that have changed since.

        Raises:
            UserError: a file is missing, new or changed.
        """
        made = self.read()
        files = sorted(path for path in self.judge.rglob("*") if path.is_file()) if self.judge.is_dir() else []
        files = [path for path in files if self.judge / KEPT not in path.parents]
        found = {str(path.relative_to(self.judge)): digest(path) for path in files}
        if made["judge_files"]:
            resume.refuse_other_settings(self.judge, made["judge_files"], found, instead="choose another --run_dir")
        elif found:
            write_json(self.config, {**made, "judge_files": found})

    def read(self):
        """Returns a dict of all that `open` and `check_judge_files` have written.

        Raises:
            UserError: there is no such file, or it is damaged.
        """
        try:
            config = load_json(self.config)
            if not {"flags", "device", "space"} <= config.keys():
                raise ValueError("flags, device or space is missing")
            config = {**_EARLIER, **config}
            for name in ("flags", "device", "space", *_EARLIER):
                if not isinstance(config[name], dict):
                    raise ValueError(f"{name} is no object")
            config["flags"] = {**_EARLIER_FLAGS, **config["flags"]}
            return config
        except FileNotFoundError as error:
            raise UserError(f"Expected the folder of a run. There is no file {str(self.config)!r}") from error
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{self.config} is damaged: {first_line(error)}. Choose another --run_dir") from error

    def _refuse_other(self, made, identity):
        resume.refuse_other_settings(self.path, made, identity, instead="choose another --run_dir")

    def _refuse_other_command(self, made, space):
        part = made["space"].get("part")
        if not isinstance(part, dict) or not isinstance(part.get("folder"), str):
            raise UserError(f"{self.config} is damaged: it describes no search space. Choose another --run_dir")
        theirs, ours = _command(part["folder"]), _command(space["part"]["folder"])
        if theirs != ours:
            raise UserError(f"{self.path} is a run of {theirs}. Received: {ours}. Choose another --run_dir")

    def _refuse_earlier_version(self, made):
        if not made["measured_under"]:
            version = made["versions"].get(PROJECT) or "unknown"
            raise UserError(
                f"{self.path} was begun with version {version} of {PROJECT}, which trained other children. Received: "
                f"version {nas_tf.__version__}. Choose another folder; nas-ship still takes this one"
            )


def measured_under(folder):
    """Returns a dict from name to value of everything that decides the measurements of a run, from its config.json.

    Raises:
        UserError: there is no such run, or an earlier version made it.
    """
    folder = RunFolder(folder)
    made = folder.read()
    folder._refuse_earlier_version(made)
    return made["measured_under"]


def _measured_under(flags, device, space, judge, data, versions):
    """Returns a dict from the names that messages use to the values of everything that decides a measurement."""
    named = {f"--{name}": value for name, value in flags.items()}
    named |= {f"device {name}": _minor(name, value) for name, value in device.items() if name != "settings"}
    named |= {f"judge {name}": value for name, value in judge.items()}
    named |= {f"decision {name}": choices for name, choices in space["decisions"].items()}
    for which in ("proxy_scale", "deploy_scale"):
        named |= {f"{which} {name}": value for name, value in space[which].items()}
    named |= {f"data {name}": value for name, value in data.items() if name not in _OF_THE_PLACE}
    # A patch version changes no measurement by intention; that it differs is said.
    for name in (PROJECT, *_PACKAGES):
        named[f"version of {name}"] = ".".join((versions[name] or "none").split(".")[:2])
    named.pop("device python", None)
    named["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
    return resume.as_json(named)


def _minor(name, value):
    """Returns what a device says of itself, its runtime without the patch version."""
    return re.sub(r"(\d+\.\d+)(\.\S+)", r"\1", value) if name == "runtime" else value


def _own_files(parts):
    """Returns a dict from the name of each part that is a file of the user's own to the digest of the file."""
    own = [part for part in parts if part.name.endswith(".py")]
    paths = [(part.folder.rpartition(".")[2], pathlib.Path(part.name)) for part in own]
    return {f"{kind} file {path.name}": digest(path)[:16] for kind, path in paths}


def _command(space_folder):
    return f"{space_folder.partition('_')[0]}-search"


def _versions():
    """Returns a dict from package to its version, or None. The project's own is that of the running code."""
    return {PROJECT: nas_tf.__version__, **{name: _version(name) for name in (*_PACKAGES, "numpy")}} | {
        "python": platform.python_version()
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
