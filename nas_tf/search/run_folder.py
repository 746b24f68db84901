"""A run folder: the places of its files, and what of its settings may change when the run goes on."""

import datetime
import hashlib
import importlib.metadata
import json
import pathlib
import platform

from nas_tf import resume
from nas_tf.files import write_json
from nas_tf.trial import UserError, first_line

# All other settings are refused. `device settings` is what `describe()` says: those that were given are flags.
_MAY_CHANGE = ("--run_dir", "--num_trials", "--max_hours", "device settings")
# What the run folders of earlier versions lack, with the values of that time.
_EARLIER_FLAGS = {"deploy_number_type": "float32", "judge": "proxy"}
_EARLIER = {"judge": {"judge": "proxy"}, "judge_files": {}}
_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow", "ai-edge-litert", "numpy")


class RunFolder:
    """The files of one run, all under `path`."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.records = self.path / "trials.sqlite"
        self.judge = self.path / "judge"
        self.tensorboard = self.path / "tensorboard"
        self.workers_log = self.path / "workers.log"
        self.pareto_csv = self.path / "pareto.csv"
        self.pareto_png = self.path / "pareto.png"
        self.best = self.path / "best"

    def open(self, flags, device, space, judge, has_begun):
        """Makes the folder, or checks that it was made with the same settings.

        More trials or hours may be asked for. Before the run has begun, all settings may change.

        Args:
            flags, device, space, judge: JSON-ready dicts of what the run is asked for.
            has_begun: whether the run has measured anything yet.

        Raises:
            UserError: a setting differs (all that do are named), or config.json is missing or damaged.
        """
        if has_begun:
            made, asked = self.read(), {"flags": flags, "device": device, "judge": judge}
            resume.refuse_other_settings(
                self.path, _identity(made), _identity(asked), _MAY_CHANGE, "choose another --run_dir"
            )
            return
        write_json(
            self.config,
            {
                **resume.as_json({"flags": flags, "device": device, "space": space, "judge": judge}),
                "judge_files": {},
                "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
                "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )

    def check_judge_files(self):
        """Records the files that the judge has made, and when the run goes on refuses files that have changed since.

        Raises:
            UserError: a file is missing, new or changed.
        """
        made = self.read()
        files = sorted(path for path in self.judge.rglob("*") if path.is_file()) if self.judge.is_dir() else []
        found = {str(path.relative_to(self.judge)): _digest(path) for path in files}
        if made["judge_files"]:
            resume.refuse_other_settings(self.judge, made["judge_files"], found, instead="choose another --run_dir")
        elif found:
            write_json(self.config, {**made, "judge_files": found})

    def read(self):
        """Returns a dict of `flags`, `device`, `space`, `judge`, `judge_files`, `versions` and `made_at`.

        Raises:
            UserError: there is no such file, or it is damaged.
        """
        try:
            config = json.loads(self.config.read_text())
            if not {"flags", "device", "space"} <= config.keys():
                raise ValueError("flags, device or space is missing")
            config["flags"] = {**_EARLIER_FLAGS, **config["flags"]}
            return {**_EARLIER, **config}
        except FileNotFoundError as error:
            raise UserError(f"Expected the folder of a run. There is no file {str(self.config)!r}") from error
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{self.config} is damaged: {first_line(error)}. Choose another --run_dir") from error


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _identity(config):
    """Returns a dict from name to value of what a run may not change, with the names that messages use."""
    named = {f"--{name}": value for name, value in config["flags"].items()}
    for thing in ("device", "judge"):
        named |= {f"{thing} {name}": value for name, value in config[thing].items()}
    return resume.as_json(named)


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
