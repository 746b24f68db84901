"""A run folder: its settings, which may not change while it grows, and the places of its files."""

import datetime
import importlib.metadata
import json
import pathlib
import platform

from nas_tf.files import write_file
from nas_tf.trial import UserError

_MAY_CHANGE = ("run_dir", "num_trials", "max_hours")
# Flags that run folders of earlier versions lack, and what those did.
_EARLIER = {"deploy_number_type": "float32"}
_PACKAGES = ("mobile-nas-tf", "keras", "tensorflow", "ai-edge-litert", "numpy")


class RunFolder:
    """The files of one run, all under `path`."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.records = self.path / "trials.sqlite"
        self.tensorboard = self.path / "tensorboard"
        self.workers_log = self.path / "workers.log"
        self.pareto_csv = self.path / "pareto.csv"
        self.pareto_png = self.path / "pareto.png"
        self.best = self.path / "best"

    def open(self, flags, device, space, has_begun):
        """Makes the folder, or checks that the one there was made with the same settings.

        `flags`, `device` and `space` are JSON-ready dicts; of the flags, more trials or hours may be asked for. As long
        as the run has not begun, nothing is held against new settings.

        Raises:
            UserError: a setting differs (all that do are named), or config.json is missing or damaged.
        """
        asked = json.loads(json.dumps({"flags": flags, "device": device, "space": space}))
        if not has_begun:
            versions = {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()}
            made_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            write_file(self.config, json.dumps({**asked, "versions": versions, "made_at": made_at}, indent=2) + "\n")
            return
        made = self.read()
        differing = [
            f"--{name}={_short(asked['flags'].get(name))} (was {_short(made['flags'].get(name))})"
            for name in sorted({*asked["flags"], *made["flags"]} - set(_MAY_CHANGE))
            if asked["flags"].get(name) != made["flags"].get(name)
        ]
        differing += [
            f"device {name}: {_short(asked['device'].get(name))} (was {_short(made['device'].get(name))})"
            for name in sorted({*asked["device"], *made["device"]} - {"settings"})
            if asked["device"].get(name) != made["device"].get(name)
        ]
        if differing:
            raise UserError(
                f"{self.path} was made with other settings: {'; '.join(differing)}. Give those again, or choose "
                "another --run_dir"
            )

    def read(self):
        """dict: `flags`, `device`, `space`, `versions`, `made_at`.

        Raises:
            UserError: there is no such file, or it is damaged.
        """
        try:
            config = json.loads(self.config.read_text())
            if not {"flags", "device", "space"} <= config.keys():
                raise ValueError("flags, device or space is missing")
            config["flags"] = {**_EARLIER, **config["flags"]}
            return config
        except FileNotFoundError as error:
            raise UserError(f"Expected the folder of a run. There is no file {str(self.config)!r}") from error
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{self.config} is damaged: {error}. Choose another --run_dir") from error


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _short(value):
    return json.dumps(value) if not isinstance(value, str) else value
