"""Finds and loads parts. A part is a file of a plug-in folder."""

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import sys
import traceback

from nas_tf.settings import configure, is_path
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, OwnFileError, UserError

_OWN = "nas_tf_user_"  # what the names of modules begin with that are files of the user's own
_MEANT = (UserError, EvaluationError, InfeasibleArchitecture)  # these say what they have to say
_LONGEST = 300  # characters of what an error says


def names(folder):
    """Returns a tuple of the names of the parts in `folder`, such as `"nas_tf.devices"`, in alphabetical order."""
    package = importlib.import_module(folder)
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def load(folder, name):
    """Returns the module of a part.

    Args:
        folder: plug-in folder, such as `"nas_tf.devices"`.
        name: name of the part, or the path of the user's own `.py` file.

    Raises:
        UserError: there is no such part or file, or the file raises an error or lacks what a part has.
    """
    if name.endswith(".py"):
        path = pathlib.Path(expand(name)).resolve()
        module = _load_file(path)
        _check_promise(folder, module, path)
        return module
    if name not in names(folder):
        raise UserError(
            f"Expected one of {', '.join(names(folder))}, or the path of a .py file, for a part of {folder}. "
            f"Received: {name!r}"
        )
    return importlib.import_module(f"{folder}.{name}")


def _load_file(path):
    if not path.is_file():
        raise UserError(f"Expected a Python file with a part of your own. There is no file {str(path)!r}")
    module_name = f"{_OWN}{path.stem}"
    if module_name in sys.modules and sys.modules[module_name].__file__ == str(path):
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]  # half of a module is none
        if isinstance(error, (*_MEANT, KeyboardInterrupt)):
            raise
        if isinstance(error, SyntaxError) and os.path.isfile(error.filename or ""):  # no line of the file has run
            raise UserError(_line(error.filename, error.lineno, error)) from error
        raise UserError(own_line(error) or _line(path, None, error)) from error
    return module


def _check_promise(folder, module, path):
    """Raises `UserError` unless a file of the user's own has what every part of `folder` has."""
    needed = ("SPACE", "Scale") if folder.endswith(".spaces") else ("Config", "make")
    missing = [name for name in needed if not hasattr(module, name)]
    if missing:
        raise UserError(
            f"Expected {path} to have {' and '.join(needed)}, as every part of {folder} has. It lacks "
            f"{' and '.join(missing)}"
        )
    first = getattr(module, needed[0])
    if not dataclasses.is_dataclass(first) or isinstance(first, type) != (needed[0] == "Config"):
        kind = "a frozen dataclass" if needed[0] == "Config" else "an instance of a frozen dataclass"
        raise UserError(f"Expected {needed[0]} of {path} to be {kind}. Received: {first!r}")


def own_line(error):
    """Returns where an error arose in a file of the user's own, as "mine.py, line 12: NameError: ...".

    That is the deepest line of its traceback in such a file. Returns None if the traceback has none.
    """
    lines = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(_OWN)
    ]
    return _line(*lines[-1], error) if lines else None


def described(error):
    """Returns what an error says, in one line, with its place if that is in a file of the user's own."""
    return own_line(error) or str(error)


@contextlib.contextmanager
def mistakes_told(log_path):
    """Turns an error in a file of the user's own, raised inside, into an `OwnFileError`. Its trace goes into a log.

    Args:
        log_path: of the log, `workers.log` of a run; None: standard error, which is that log in a worker's process.
    """
    try:
        yield
    except _MEANT:
        raise
    except Exception as error:
        line = own_line(error)
        if line is None:
            raise
        with open(log_path, "a") if log_path else contextlib.nullcontext(sys.stderr) as log:
            traceback.print_exc(file=log)
        raise OwnFileError(f"{line} (the whole trace is in workers.log in the run folder)") from error


def _line(path, number, error):
    try:
        said = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    except Exception:
        said = "an error that does not say what is wrong"
    place = f"{pathlib.Path(path).name}, line {number}" if number else pathlib.Path(path).name
    return f"{place}: {type(error).__name__}: {said[:_LONGEST]}"


def expand(name):
    """Returns the name of a part, without `~` if it is the path of a file of the user's own."""
    return os.path.expanduser(name) if os.fspath(name).endswith(".py") else name


def expand_all(parts):
    """Returns a dict from a part's name to its settings, such as the user gave it or None, with `expand`ed names."""
    return {expand(name): settings for name, settings in (parts or {}).items()}


def prefix_of(name):
    """Returns what the flags of a part begin with: the name of its file, wherever a file of the user's own lies."""
    return f"{pathlib.Path(name).stem}_"


def refuse_from_file(folder, name, where, flag, own=""):
    """Raises `UserError` unless a part that a file names may run: whatever a file names goes through here first.

    Files come from other people too. A part of the plug-in folder may run. A file of the user's own may run if a flag
    of this very command names the same.

    Args:
        folder: plug-in folder of the part.
        name: the part's name, as the file has it.
        where: the file, for the message.
        flag: name of the setting that names such a part, as in `"search_space"`.
        own: what that flag names on this command's line.
    """
    if isinstance(name, str) and name.endswith(".py"):
        refuse_to_run(name, where, flag, own)
    elif name not in names(folder):
        raise UserError(f"{where} names no {flag.replace('_', ' ')} of {', '.join(names(folder))}. It names {name!r}")


def refuse_to_run(path, where, flag, own=""):
    """Raises `UserError` unless `own`, what --`flag` names, is the file at `path`, which the file `where` names."""
    real = os.path.realpath(os.path.expanduser(path))
    if not own or os.path.realpath(os.path.expanduser(own)) != real:
        what = flag.replace("_", " ")
        raise UserError(
            f"{where} names the file {path} as its {what}. A file from someone else is not run: give --{flag}={real} "
            "if you trust it"
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """A part and its settings as plain data, from which a worker makes the part again.

    Attributes:
        folder: plug-in folder, such as `"nas_tf.devices"`.
        name: name of the part, or the path of the user's own `.py` file.
        settings: dict from name to value of the settings that differ from the defaults.
    """

    folder: str
    name: str
    settings: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if isinstance(self.name, (str, os.PathLike)):  # a file may hold something else, which its reader refuses
            object.__setattr__(self, "name", expand(self.name))

    @property
    def module(self):
        return load(self.folder, self.name)

    @property
    def config(self):
        """The part's `Config` with these settings.

        Raises:
            UserError: a setting is unknown, or its value is refused.
        """
        return configure(self.module.Config, self.settings, self.name)

    def make(self, *args, **kwargs):
        """Returns what the part's `make` returns for its `Config` and these arguments."""
        return self.module.make(self.config, *args, **kwargs)

    @property
    def space(self):
        """The part's `SPACE` with these settings, for a folder of spaces."""
        return configure(type(self.module.SPACE), {**_fields(self.module.SPACE), **self.settings}, self.name)

    def flags(self):
        """Returns a dict from flag to value of these settings."""
        module = self.module
        fields = {field.name: field for field in dataclasses.fields(getattr(module, "SPACE", None) or module.Config)}
        return {
            (fields[name].metadata if name in fields else {}).get("flag", f"{prefix_of(self.name)}{name}"): value
            for name, value in self.settings.items()
        }

    def to_json(self):
        return {"folder": self.folder, "name": self.name, "settings": self.settings}

    def paths(self):
        """Returns a list of the paths of files that it names: its own, and those among its settings."""
        own = [self.name] if self.name.endswith(".py") else []
        return own + [self.settings[name] for name in self._path_settings() if self.settings[name]]

    def moved(self, place):
        """Returns this part with `place(path)` for each path that it names."""
        settings = {name: place(self.settings[name]) for name in self._path_settings()}
        name = place(self.name) if self.name.endswith(".py") else self.name
        return dataclasses.replace(self, name=name, settings={**self.settings, **settings})

    def _path_settings(self):
        module = self.module
        fields = {field.name: field for field in dataclasses.fields(getattr(module, "SPACE", None) or module.Config)}
        return [name for name, value in self.settings.items() if name in fields and is_path(fields[name], value)]


def _fields(instance):
    return {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
