"""Phones and emulators over adb as the device: TFLite's own benchmark_model times each TFLite file there."""

import concurrent.futures
import contextlib
import dataclasses
import pathlib
import re
import threading

from nas_tf.devices import Meter
from nas_tf.devices._android import fleet, phone, tool
from nas_tf.devices._android.adb import Adb, AdbFailed, PhoneGone
from nas_tf.devices._android.bench import EMULATOR, RESTORE, Bench, Unfit
from nas_tf.devices._android.log import parse_benchmark_output
from nas_tf.devices._android.runner import END
from nas_tf.settings import Settings, knob
from nas_tf.trial import EvaluationError, UserError

DELEGATES = ("cpu", "gpu", "npu", "nnapi")
_TRIES = 8  # of one network on one phone that is lost or fails, before the phone is given up
_RETURN_SECONDS = 1.0  # that a job has to give its phone back once the meter is closed
__all__ = ["DELEGATES", "AndroidMeter", "Config", "make", "parse_benchmark_output"]


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Which phones are used, how a file is timed there, and when a latency counts."""

    serials: tuple[str, ...] = knob(
        (), "Serials of the phones, as adb devices lists them; all: all that it lists.", decides=False
    )
    benchmark_binary: str = knob(
        "", "TFLite's benchmark_model for the phone; empty: the one nas-phone setup fetched.", program=True
    )
    num_threads: int = knob(1, "Threads that run the network.", least=1)
    mask: str = knob("", "Cores to pin the tool to, as a hexadecimal mask; empty: the phone's fastest.")
    delegate: str = knob(
        "cpu",
        "What runs the network; a delegate must take all of it. TFLite's tool knows nnapi, LiteRT's npu.",
        choices=DELEGATES,
    )
    more_delegates: tuple[str, ...] = knob(
        (),
        f"Delegates by which files that ship are timed too, of {', '.join(DELEGATES)}.",
        choices=DELEGATES,
        decides=False,
    )
    library_dir: str = knob(
        "",
        "Folder with .so files that LiteRT's tool needs for gpu and npu (accelerators, a vendor's dispatch library): "
        "they are put beside the tool.",
        path=True,
    )
    num_runs: int = knob(50, "Inferences in one run of the tool at least.", least=1)
    min_seconds: float = knob(1.0, "Seconds of inferences in one run of the tool at least.", above=0)
    max_seconds: float = knob(150.0, "Seconds after which the tool ends a run.", above=0)
    warmup_seconds: float = knob(0.5, "Seconds of inferences before any inference counts.", least=0)
    repeats: int = knob(3, "Runs of the tool that must agree; the latency is their median. An odd number.", least=1)
    max_spread: float = knob(0.03, "Fraction by which these runs may differ.", above=0)
    max_drift: float = knob(
        0.05, "Fraction by which the reference network may differ from the first time it was timed.", above=0
    )
    max_thermal_status: int = knob(
        0, "Android's thermal status above which nothing is timed: 0 none, 1 light, ...", least=0
    )
    min_battery_percent: int = knob(20, "Battery level below which nothing is timed.", least=0)
    attempts: int = knob(
        3, "Tries of one network, with a pause to cool between them, before it is called unstable.", least=1
    )
    cool_seconds: float = knob(20.0, "Length of that pause.", least=0)
    answer_seconds: float = knob(
        30.0, "Seconds in which a phone must do a short command, or it counts as lost.", above=0, decides=False
    )
    poll_seconds: float = knob(5.0, "Pause between two looks at a phone that is hot or low.", above=0, decides=False)
    patience_minutes: float = knob(
        10.0, "How long to wait for a phone that is hot, low, lost or in use.", above=0, decides=False
    )
    mixed_models: bool = knob(False, "Take phones of different models for one device.")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "serials", tuple(self.serials))
        object.__setattr__(self, "more_delegates", tuple(self.more_delegates))
        if self.repeats % 2 == 0:
            raise UserError(f"Expected an odd --android_repeats, so that a run is the median. Received: {self.repeats}")
        if self.mask and not (re.fullmatch(r"[0-9a-fA-F]{1,16}", self.mask) and int(self.mask, 16)):
            raise UserError(f"Expected --android_mask to be hexadecimal without 0x, as f0. Received: {self.mask!r}")


def make(config, space=None, scale=None):
    """Returns the `AndroidMeter`; what it times may be of any search space and scale."""
    return AndroidMeter(config)


class AndroidMeter(Meter):
    """Latency on one phone, or on whichever is free of several phones of one model.

    Attributes:
        config: the `Config`.
        log: `log(name, text)` is called with everything that the phones and the tool print.
    """

    shares_host = False

    def __init__(self, config):
        self.config, self.log = config, lambda name, text: None
        self._chosen = None
        self._benches = {}
        self._closed = threading.Event()

    @property
    def fleet(self):
        """The `fleet.Fleet` of the phones that the settings name, or else of those that adb lists now."""
        if self._chosen is None:
            named = self.config.serials not in ((), ("all",))
            serials = self.config.serials if named else fleet.choose(self.config.serials)
            self._chosen = fleet.Fleet(serials, self.config.answer_seconds)
        return self._chosen

    def bench(self, serial):
        """Returns the `bench.Bench` of a phone that this process holds."""
        if serial not in self._benches:
            self._benches[serial] = Bench(
                serial, self.config, self._find_tool, lambda *text: self.log(*text), self._closed
            )
        return self._benches[serial]

    @contextlib.contextmanager
    def held(self, serial):
        """Yields the `bench.Bench` of a phone, which this process holds until the block ends."""
        with self.fleet.lend(self._patience_seconds, (serial,)):
            yield self.bench(serial)

    @property
    def num_parallel(self):
        return len(self.fleet.serials)

    def abis(self):
        """list[str]: the phones' ABIs. Does not need the tool."""
        return [phone.read(Adb(serial))[0].abi for serial in self.fleet.serials]

    def resolved(self):
        return {"serials": self.fleet.serials}

    def check(self):
        folder = self.config.library_dir
        if folder and not list(pathlib.Path(folder).expanduser().glob("*.so")):
            raise UserError(f"Expected .so files in --android_library_dir. Received: {folder!r}")
        fleet.choose(self.config.serials)  # refuses a phone that is not ready
        self.refuse_mixed_models()
        for serial in self.fleet.serials:
            with self.held(serial) as bench:
                complaint = bench.complaint()
                if complaint:
                    raise UserError(complaint)
                bench.check_reference()

    def describe(self):
        facts = [self.bench(serial).describe() for serial in self.fleet.serials]
        joined = {name: _join([each[name] for each in facts]) for name in facts[0]}
        is_emulator = any(self.bench(serial).facts.is_emulator for serial in self.fleet.serials)
        marked = {"device": "emulator", "note": EMULATOR} if is_emulator else {"device": "android"}
        settings = {**dataclasses.asdict(self.config), "more_delegates": list(self.config.more_delegates)}
        del settings["serials"]
        phones = sorted(self.bench(serial).facts.identity for serial in self.fleet.serials)
        return {**marked, **joined, "phones": phones, "settings": settings}

    def close(self):
        self._closed.set()  # jobs in other threads ask nothing more of their phones, and give them back
        serials = self.fleet.serials
        with concurrent.futures.ThreadPoolExecutor(len(serials)) as pool:  # none waits for one that is lost
            list(pool.map(self._restore, serials))

    def _restore(self, serial):
        adb = Adb(serial, self.config.answer_seconds)
        with contextlib.suppress(EvaluationError, UserError):
            if serial in self.fleet.lent:
                adb.run(END)  # its job waits for the tool
            try:
                with self.fleet.lend(_RETURN_SECONDS, (serial,)):
                    adb.run(RESTORE)
            except PhoneGone:
                if serial not in self.fleet.lent:  # lost, or another process's
                    raise
                adb.run(RESTORE)  # its job sleeps, and touches it no more

    def brief(self):
        shorter = {"num_runs": 20, "min_seconds": 0.3, "warmup_seconds": 0.2}
        return self._with(**{name: min(value, getattr(self.config, name)) for name, value in shorter.items()})

    def beside(self):
        found = {}
        for delegate in self.config.more_delegates:
            meter = self._with(delegate=delegate, more_delegates=())
            try:
                meter.check()
                found[delegate] = meter
            except (UserError, EvaluationError) as error:
                found[delegate] = str(error)
        return found

    def _with(self, **settings):
        """Returns a meter with other settings, of the same phones, each of which both lend to one job at a time."""
        meter = AndroidMeter(dataclasses.replace(self.config, serials=self.fleet.serials, **settings))
        meter.log, meter._closed, meter._chosen = self.log, self._closed, self.fleet
        return meter

    def measure(self, tflite_path):
        failure, tries = None, dict.fromkeys(self.fleet.serials, _TRIES)
        while tries:
            with self.fleet.lend(self._patience_seconds, tuple(tries)) as serial:
                try:
                    latency = self.bench(serial).measure(tflite_path)
                    self.fleet.trust(serial)
                    return latency
                except (PhoneGone, AdbFailed, Unfit) as error:
                    failure = error
                    # A phone that is unfit has had all the time it may take to become fit.
                    tries[serial] -= _TRIES if isinstance(error, Unfit) else 1
                    tries = {each: left for each, left in tries.items() if left > 0}
                    self._benches.pop(serial, None)
                    self.fleet.put_aside(serial)
        raise EvaluationError(f"{tflite_path} could not be timed on {', '.join(self.fleet.serials)}: {failure}")

    @property
    def patience_seconds(self):
        # Each try may wait for a phone to be free, and then for it to be fit.
        return 2 * self._patience_seconds * _TRIES * len(self.fleet.serials)

    @property
    def _patience_seconds(self):
        return 60 * self.config.patience_minutes

    def _find_tool(self, abi):
        return tool.find(self.config.benchmark_binary, abi)

    def refuse_mixed_models(self):
        """Raises `UserError` where the phones are of several models and the user did not allow it."""
        models = {serial: self.bench(serial).facts.model for serial in self.fleet.serials}
        if len(set(models.values())) > 1 and not self.config.mixed_models:
            named = ", ".join(f"{serial} ({model})" for serial, model in models.items())
            raise UserError(
                "Expected phones of one model: latencies of different models do not compare. Received: "
                f"{named}. Choose with --android_serials, or give --android_mixed_models"
            )


def _join(values):
    """Returns the value that all have, or the list of different values."""
    different = [value for i, value in enumerate(values) if value not in values[:i]]
    return different[0] if len(different) == 1 else different
