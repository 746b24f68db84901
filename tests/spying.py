"""What every command makes flags of, as the commands themselves say."""

import dataclasses
import importlib
import importlib.metadata

from nas_tf import flags
from nas_tf.settings import flag_name


@dataclasses.dataclass(frozen=True)
class Spied:
    """A setting of a command.

    Attributes:
        command: the command's module.
        config: the dataclass that has the setting.
        field: its field there.
        flag: its flag.
    """

    command: str
    config: type
    field: dataclasses.Field
    flag: str


def commands():
    """List of the modules of all commands."""
    distribution = importlib.metadata.distribution("mobile-nas-tf")
    return sorted(point.load().module for point in distribution.entry_points if point.group == "console_scripts")


def every_setting():
    """Every field that a command makes a flag of, as a `Spied`. The commands are asked themselves."""
    found, define, run = [], flags.define, flags.run
    for module in commands():

        def spy(config, prefix="", title="", leave_out=(), command=module):
            kind = config if isinstance(config, type) else type(config)
            fields = (field for field in dataclasses.fields(kind) if field.name not in leave_out)
            found.extend(Spied(command, kind, field, flag_name(field, prefix)) for field in fields)

        flags.define, flags.run = spy, lambda *args, **kwargs: None
        try:
            importlib.import_module(module).cli()
        finally:
            flags.define, flags.run = define, run
    return found
