"""Which phones there are, which process holds each of them, and what is remembered of each between commands.

A process holds a phone by a file lock. Meanwhile another worker, or another search on this machine, waits or takes
another phone. A process that dies releases its phone. One phone may have several serials, over USB and over a network:
what is locked is the phone.
"""

import contextlib
import fcntl
import os
import sys
import time

from nas_tf.devices._android import adb, phone
from nas_tf.devices._android.adb import PhoneGone
from nas_tf.devices._reference import Memory
from nas_tf.trial import EvaluationError, UserError

_STATES = {
    "unauthorized": "accept the dialog 'Allow USB debugging?' on its screen (unplug and plug it in to see it again)",
    "offline": "unplug and plug it in, or turn USB debugging off and on",
    "no permissions": "this user may not open the USB device: add the udev rules for Android phones (package "
    "android-sdk-platform-tools-common), then plug it in again",
    "authorizing": "wait for it, or accept the dialog on its screen",
    "recovery": "boot it into Android",
    "sideload": "boot it into Android",
    "bootloader": "boot it into Android",
    "absent": "plug it in, turn on USB debugging (Settings, Developer options), or adb connect HOST:PORT",
}
_LONGEST_BACKOFF_SECONDS = 30.0
_PROBE_SECONDS = 5.0  # other phones wait while one is asked whether it is back


def choose(serials):
    """Returns a tuple of the serials of the phones to use.

    Args:
        serials: the serials that the user gave; `("all",)` stands for all ready phones that adb lists, and none for the
            one phone that it lists.

    Raises:
        UserError: there is no phone, there are several and none was chosen, or one is not ready. It says what to do.
    """
    listed = adb.list_phones()
    ready = [serial for serial, state in listed.items() if state == "device"]
    if tuple(serials) == ("all",):
        serials = ready
    if not serials and len(listed) > 1:
        raise UserError(
            f"adb lists several devices: {_list(listed)}. Choose with --android_serials=SERIAL, several separated by "
            "commas, or all with --android_serials=all"
        )
    serials = tuple(dict.fromkeys(serials or listed))
    if not serials:
        raise UserError(f"adb lists no device: {_STATES['absent']}")
    for serial in serials:
        state = listed.get(serial, "absent")
        if state != "device":
            way_out = next((text for start, text in _STATES.items() if state.startswith(start)), "see adb devices -l")
            others = f". adb lists: {_list(listed)}" if state == "absent" and listed else ""
            raise UserError(f"The device {serial!r} is {state}: {way_out}{others}")
    return serials


def _list(listed):
    return ", ".join(f"{serial} ({state})" for serial, state in listed.items())


def distinct(serials, identities):
    """Returns the serials without those of a phone that another one before it is of; it says which it leaves out.

    Args:
        identities: dict from a serial to the phone's identity, where that is known.
    """
    kept = {}
    for serial in serials:
        other = kept.setdefault(identities.get(serial, serial), serial)
        if other != serial:
            print(f"{serial} is the phone {other}: it is used once", file=sys.stderr, flush=True)
    return tuple(kept.values())


class Fleet:
    """The phones of one meter, each lent to one job at a time.

    Attributes:
        serials: the phones'.
        lent: set of the serials of those that jobs have now.
    """

    def __init__(self, serials, answer_seconds):
        self._answer_seconds, self._own = answer_seconds, {}
        for serial in serials:
            self._identify(serial)
        self.serials = distinct(serials, self._own)
        self.lent = set()
        self._failures = dict.fromkeys(self.serials, 0)
        self._not_before = dict.fromkeys(self.serials, 0.0)

    @contextlib.contextmanager
    def lend(self, patience_seconds, among=None):
        """Yields the serial of a phone that no other job uses until the block ends.

        Args:
            patience_seconds: for how long to wait for a phone.
            among: tuple of the serials to choose from; None: all.

        Raises:
            PhoneGone: all that time every phone was lost, or held by others.
        """
        serial, lock = self._take(among or self.serials, time.monotonic() + patience_seconds)
        self.lent.add(serial)
        try:
            yield serial
        finally:
            self.lent.discard(serial)
            lock.close()

    def put_aside(self, serial, longest_seconds=2.0):
        """Does not lend a phone that has failed for a while, which is longer after each further failure."""
        self._failures[serial] += 1
        self._not_before[serial] = time.monotonic() + min(0.25 * 2 ** min(self._failures[serial], 8), longest_seconds)

    def trust(self, serial):
        """Forgets the failures of a phone that has now done its work."""
        self._failures[serial] = 0

    def _take(self, serials, deadline):
        while True:
            # The phone that has rested longest comes first: so phones share the work, and the heat.
            for serial in sorted(serials, key=self._last_lent):
                if time.monotonic() < self._not_before[serial]:
                    continue
                own = self._own.get(serial) or self._identify(serial)
                if own is None:
                    self.put_aside(serial, _LONGEST_BACKOFF_SECONDS)
                    continue
                lock = _lock(own)
                if lock is None:
                    continue
                os.utime(lock.fileno())
                # Behind the address of a phone that was lost there may be another one now, which is not used.
                if self._failures[serial] == 0 or self._identify(serial) == own:
                    return serial, lock
                lock.close()
                self.put_aside(serial, _LONGEST_BACKOFF_SECONDS)
            if time.monotonic() > deadline:
                raise PhoneGone(
                    f"No phone of {', '.join(serials)} came free or back in time. Plug it in again, and give the same "
                    "command again: it goes on from here"
                )
            time.sleep(0.05)

    def _identify(self, serial):
        """Returns the identity of the phone that now has this serial; None where it does not answer.

        The first one that is found is the fleet's for good.
        """
        asked = adb.Adb(serial, min(self._answer_seconds, _PROBE_SECONDS))
        with contextlib.suppress(EvaluationError, UserError):
            if asked.is_back():
                found = phone.identity(asked)
                if found != self._own.setdefault(serial, found):
                    print(f"{serial} is {found} now, and was {self._own[serial]}: it is not used", file=sys.stderr)
                return found
        return None

    def _last_lent(self, serial):
        """float: when a phone was last lent, by any process; 0 if never."""
        try:
            return Memory("phones", self._own.get(serial, serial)).lock_path.stat().st_mtime
        except OSError:
            return 0.0


def _lock(identity):
    """Returns the open file whose lock says that this process holds the phone, or None where another holds it."""
    file = open(Memory("phones", identity).lock_path, "a")  # noqa: SIM115  it is open as long as the phone is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
