"""A device in one line, from what its `describe()` returns. An emulator is marked as one."""

from nas_tf.quiet import count


def device_name(description):
    """Returns the device that latencies come from in one line, or "no device" for an empty description."""
    if not description:
        return "no device"
    made_on = description.get("made_on")
    text = f"{description['device']} {_model(description)}".strip() + (f" of {device_name(made_on)}" if made_on else "")
    return text + _note(description)


def device_line(description):
    """Returns a phone in one line, with the settings that decide its latencies."""
    settings = description.get("settings", {})
    threads = settings.get("num_threads")
    return (
        f"{_model(description) or description['device']}, Android {description.get('android')}, "
        f"{description.get('abi')}, cores {description.get('mask')}, {count(threads, 'thread')}, "
        f"{settings.get('delegate')}{_note(description)}"
    )


def _model(description):
    return description.get("model") or description.get("processor") or ""


def _note(description):
    return f" ({description['note']})" if description.get("note") else ""
