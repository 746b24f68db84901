"""Makes absl flags of settings, and settings of flags. A setting is one field, declared nowhere else.

No other module uses absl.
"""

import dataclasses
import errno
import os
import sys
import types
import typing

from absl import flags as absl_flags

import nas_tf
from nas_tf import plugins, stopping
from nas_tf.settings import VISIT, flag_name
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, OwnFileError, UserError

# dict from the title of each group of --help to a list of its flags, and from a plug-in folder to the flag that chooses
# one of its parts, both as they were defined.
_GROUPS, _CHOOSERS = {}, {}
_STATUS_OF_A_BROKEN_PIPE = 141  # as of a program that SIGPIPE ended


def define(config, prefix="", title="", leave_out=()):
    """Defines a flag for each field of a dataclass type or instance. The values of an instance become the defaults.

    In --help a flag is listed in the group of its knob, else in the one called `title`, which is by default what the
    dataclass's docstring says first.

    Field types: int, float, str, bool, `tuple[int, ...]` and `tuple[str, ...]` (a comma-separated flag), `Literal` of
    strings, and `X | None`. A string with `choices` is an enum flag. A field whose knob has a `folder` takes the parts
    of that plug-in folder, or the path of a `.py` file. Fields named in `leave_out` have no flag.
    """
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    for field in dataclasses.fields(config):
        if field.name in leave_out:
            continue
        default = field.default if isinstance(config, type) else getattr(config, field.name)
        name, help_text = flag_name(field, prefix), field.metadata.get("help", "")
        folder, choices = field.metadata.get("folder"), field.metadata.get("choices")
        group = field.metadata.get("group") or title or _first_sentence(config) or "Settings"
        _GROUPS.setdefault(group, []).append(name)
        if folder:
            _CHOOSERS[folder] = name
            help_text += f" One of: {', '.join(_names(field))}; or the path of a .py file."
        kind = _strip_none(hints[field.name])
        origin = typing.get_origin(kind)
        if origin is typing.Literal:
            kind, choices = str, typing.get_args(kind)
        if origin is tuple:
            absl_flags.DEFINE_list(name, [str(value) for value in default], help_text)
        elif choices and kind is str:
            absl_flags.DEFINE_enum(name, default, list(choices), help_text)
        else:
            define_flag = {
                int: absl_flags.DEFINE_integer,
                float: absl_flags.DEFINE_float,
                bool: absl_flags.DEFINE_bool,
                str: absl_flags.DEFINE_string,
            }[kind]
            define_flag(name, default, help_text)


def read(config_type, prefix=""):
    """Returns an instance of `config_type` with the values of its flags.

    Raises:
        UserError: a value is of the wrong type, or the dataclass refuses it; or there is no part of that name.
    """
    settings = config_type(**_values(config_type, prefix))
    for field in dataclasses.fields(settings):
        if "folder" in field.metadata:
            _check_part(field, getattr(settings, field.name), flag_name(field, prefix))
    return settings


def given(config_type, prefix=""):
    """Returns a dict from field to value of those flags of `config_type` that the command line, or a file, gives.

    Raises:
        UserError: a value is of the wrong type, or there is no part of that name.
    """
    fields = {field.name: flag_name(field, prefix) for field in dataclasses.fields(config_type)}
    present = {name for name, flag in fields.items() if flag in absl_flags.FLAGS and absl_flags.FLAGS[flag].present}
    found = _values(config_type, prefix, fields.keys() - present)
    for field in dataclasses.fields(config_type):
        if field.name in found and "folder" in field.metadata:
            _check_part(field, found[field.name], fields[field.name])
    return found


def _check_part(field, name, flag):
    """Raises `UserError` unless there is a part called `name`, or a file of the user's own that keeps the promise."""
    if name.endswith(".py"):
        plugins.load(field.metadata["folder"], name)
    elif name != field.default and name not in _names(field):
        raise UserError(
            f"Expected --{flag} to be one of {', '.join(_names(field))}, or the path of a .py file. Received: {name!r}"
        )


def _names(field):
    """Returns a tuple of what a setting may be that chooses a part, apart from files of the user's own."""
    return (*plugins.names(field.metadata["folder"]), *field.metadata.get("also", ()))


def define_parts(folder, chooser=None):
    """Defines the flags of every part in a plug-in folder, each prefixed with its file's name, a group for each part.

    Args:
        folder: the plug-in folder.
        chooser: the flag that chooses one of its parts; None: the setting with this `folder`, which was defined before.
    """
    chooser = chooser or _CHOOSERS.get(folder)
    for name in plugins.names(folder):
        module = plugins.load(folder, name)
        title = ": ".join(filter(None, (f"--{chooser}={name}" if chooser else name, _first_sentence(module))))
        _GROUPS.setdefault(title, [])
        define(_settings_of(module), prefix=f"{name}_", title=title)


def _first_sentence(documented):
    """Returns the first sentence of a docstring without its full stop; empty if nobody wrote one."""
    if (documented.__doc__ or "").startswith(f"{getattr(documented, '__name__', '')}("):
        return ""  # Python's own of a dataclass
    paragraph = (documented.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split()).split(". ")[0].removesuffix(".")


def read_part(folder, name):
    """Returns the `plugins.Part` that the flags of part `name` describe, without settings left at their defaults.

    Of a search space, what was given stays also where it equals the default: a parent or a table brings others.
    """
    if name.endswith(".py"):
        return plugins.Part(folder, name)
    defaults = _settings_of(plugins.load(folder, name))
    values = _values(defaults, f"{name}_")
    is_space = not isinstance(defaults, type)
    kept = given(defaults, f"{name}_") if is_space else {}
    changed = {
        field.name: values[field.name]
        for field in dataclasses.fields(defaults)
        if field.name in kept or values[field.name] != (getattr(defaults, field.name) if is_space else field.default)
    }
    return plugins.Part(folder, name, changed)


def run(main, usage, takes_words=False):
    """Parses the command line, runs `main` and exits.

    The exit status is what `main` returns (None: 0), 1 for a failure in mid-run, 2 for a user's mistake, also one in a
    file of the user's own, 130 after Ctrl-C, 143 after SIGTERM or 141 if nobody reads what it prints. `--help` prints
    every flag of the project and `--version` its version; both exit 0.

    Args:
        main: the command.
        usage: what `--help` prints before the flags.
        takes_words: whether the command is called as `main(words)`, with the arguments that are not flags. A `~` in
            front of a word is expanded.
    """
    argv = sys.argv
    if any(argument in ("--help", "-help", "-h", "--helpfull", "--helpshort") for argument in argv[1:]):
        _print_quietly(f"{usage.strip()}\n\nFlags:\n\n{_help_text()}")
        sys.exit(0)
    if "--version" in argv[1:]:
        _print_quietly(f"{_command()} of mobile-nas-tf {nas_tf.__version__}")
        sys.exit(0)
    try:
        rest = absl_flags.FLAGS(argv)
        if len(rest) > 1 and not takes_words:
            raise UserError(f"Expected only flags, as --name=value. Received: {rest[1]!r}")
    except (absl_flags.Error, UserError) as error:
        _fail(f"{error} (--help lists every flag)", 2)
    command = _command()
    try:
        with stopping.stoppable(command):
            status = main([os.path.expanduser(word) for word in rest[1:]]) if takes_words else main()
            print(end="", flush=True)  # also where standard output is closed
        sys.exit(status)
    except BrokenPipeError as error:  # who reads standard output has seen enough of it, as `head`
        if plugins.own_line(error) is not None:
            _fail(plugins.own_line(error), 2)
        _print_no_more()
        sys.exit(_STATUS_OF_A_BROKEN_PIPE)
    except (UserError, OwnFileError) as error:
        _fail(error, 2)
    except (EvaluationError, InfeasibleArchitecture) as error:
        _fail(error, 1)
    except KeyboardInterrupt as stop:
        stopping.leave(stop, command)
    except Exception as error:
        if _is_full(error):
            _fail(
                f"Cannot write {error.filename or 'a file'}: {error.strerror}. Everything finished before is kept: "
                "free some space and give the same command again",
                1,
            )
        if plugins.own_line(error) is None:
            raise
        _fail(plugins.own_line(error), 2)


def _is_full(error):
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _fail(error, status):
    print(f"{_command()}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(status)


def _command():
    return sys.argv[0].rsplit("/", 1)[-1]


def _print_quietly(text):
    """Prints a text. A reader who has seen enough of it, as `head`, is no failure."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _print_no_more()


def _print_no_more():
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of the process


def _help_text():
    """Returns all flags in groups: first those of a visit, then the command's others, then those of parts."""
    order = {title: number for number, title in enumerate(VISIT)}
    titles = sorted(_GROUPS, key=lambda title: order.get(title, len(order)))
    return "\n\n".join(
        "\n".join([absl_flags.text_wrap(title, 110, "    ", ""), *map(_flag_text, _GROUPS[title] or [None])])
        for title in titles
    )


def _flag_text(name):
    if name is None:
        return "  nothing to set"
    flag = absl_flags.FLAGS[name]
    form = f"--[no]{name}" if flag.boolean else f"--{name}"
    default = "" if flag.default in (None, "", []) else f" (default: {flag.default_as_str.strip(chr(39))})"
    return absl_flags.text_wrap(f"{flag.help}{default}", 110, "      ", f"  {form}: ")


def _settings_of(module):
    return module.SPACE if hasattr(module, "SPACE") else module.Config


def _values(config, prefix, leave_out=()):
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    values = {}
    for field in dataclasses.fields(config):
        if field.name in leave_out:
            continue
        flag = flag_name(field, prefix)
        kind, value = _strip_none(hints[field.name]), absl_flags.FLAGS[flag].value
        if typing.get_origin(kind) is tuple:
            value = _as_tuple(value, typing.get_args(kind)[0], flag)
        values[field.name] = value
    return values


def _as_tuple(texts, element_type, flag):
    try:
        return tuple(element_type(text) for text in texts)
    except ValueError as error:
        raise UserError(
            f"--{flag} expects {element_type.__name__} values separated by commas. Received: {','.join(texts)}"
        ) from error


def _strip_none(kind):
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(argument for argument in typing.get_args(kind) if argument is not type(None))
    return kind
