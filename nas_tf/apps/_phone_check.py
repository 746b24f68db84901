"""`nas-phone check`: what is wrong with a phone and what to do, or what it is and how steadily it times."""

import dataclasses
import json
import pathlib
import tempfile
import time
import traceback
import zipfile

from nas_tf.bars import progress_bar
from nas_tf.devices import android
from nas_tf.devices._android import bench, fleet
from nas_tf.files import check_writable
from nas_tf.reports.device import device_line
from nas_tf.trial import InfeasibleArchitecture, UserError

PUBLISHED = pathlib.Path(bench.__file__).with_name("published_latencies.json")
REPEATS = 5


def check(config, out_dir, convert, say=print):
    """Checks phones, times three published networks on each, and writes a zip of all raw logs.

    Args:
        config: the `nas_tf.devices.android.Config` that chooses the phones.
        out_dir: folder of the zip.
        convert: `convert(name, path)` writes a published network as TFLite.
        say: takes each line of text.

    Returns:
        The path of the zip.

    Raises:
        UserError: something is wrong that the user can change.
        nas_tf.trial.EvaluationError: a phone was lost, or reported no latency.
    """
    check_writable(out_dir)
    path = pathlib.Path(out_dir) / f"nas-phone-{time.strftime('%Y%m%d-%H%M%S')}.zip"
    logs = []
    try:
        meter = android.make(dataclasses.replace(config, serials=fleet.choose(config.serials)))
        meter.log = lambda name, text: logs.append((name, text))
        for serial in meter.fleet.serials:
            _check_phone(meter, serial, say)
        meter.refuse_mixed_models()
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            paths = {name: pathlib.Path(folder) / f"{name}.tflite" for name, _ in _published()}
            for name, file in progress_bar(paths.items(), desc="converting", leave=False):
                convert(name, file)
            for serial in meter.fleet.serials:
                _time_networks(config, serial, paths, logs, say)
    except BaseException:
        logs.append(("error.txt", traceback.format_exc()))
        raise
    finally:
        _write_zip(path, logs)
        say(f"raw logs: {path}")
    return path


def _check_phone(meter, serial, say):
    with meter.held(serial) as phone:
        about, now = phone.describe(), phone.condition
        temperatures = ", ".join(f"{name} {value:g} °C" for name, value in now.temperatures_c.items()) or "unknown"
        say(f"{serial}: {device_line({**about, 'device': serial, 'settings': dataclasses.asdict(meter.config)})}")
        mask = about["mask"] if phone.mask else "none (all cores alike, or unknown)"
        battery = "none, or unknown" if now.battery_percent is None else f"{now.battery_percent} %"
        say(
            f"  {about['cores']} cores, mask {mask}; thermal status {now.thermal_status}; temperatures: "
            f"{temperatures}; battery {battery}"
        )
        say(f"  benchmark_model {about['tool']['version']}, SHA-256 {about['tool']['sha256'][:16]}...")
        if phone.facts.is_emulator:
            say(f"  {bench.EMULATOR} (by {', '.join(phone.facts.emulator_signs[:3])})")
        complaint = phone.complaint()
        if complaint:
            raise UserError(complaint)
        reference = phone.renew_reference()
        say(f"  reference network: {reference['ms']:.3f} ms, with which its later timings are compared")
        if phone.unconsumed:
            flags = " ".join(phone.unconsumed)
            say(f"  benchmark_model did not take {flags}: LiteRT 2's own has no such flag, and always runs XNNPACK")


def _published():
    """Returns a dict from (network, threads) to its rows in the table of published latencies."""
    found = {}
    for row in json.loads(PUBLISHED.read_text()):
        found.setdefault((row["network"], row["threads"]), []).append(row)
    return found


def _time_networks(config, serial, paths, logs, say):
    say(f"{'network':<15} {'threads':>7} {'median ms':>10} {'spread':>7}   {REPEATS} runs (ms); published")
    for (network, threads), rows in _published().items():
        # The bounds are wide, because the question is how far apart the runs are.
        asked = dataclasses.replace(config, serials=(serial,), num_threads=threads, repeats=REPEATS, max_spread=10.0)
        meter = android.make(asked)
        meter.log = lambda name, text: logs.append((name, text))
        with meter.held(serial) as phone:
            phone.renew_reference()
        try:
            latency = meter.measure(paths[network])
        except InfeasibleArchitecture as error:
            say(f"{network:<15} {threads:>7} not measured: {error}")
            continue
        figures = [run["median_ms"] or run["mean_ms"] for run in latency.details["tool_runs"]]
        published = ", ".join(f"{row['device']} {row['ms']:g}" for row in rows)
        say(
            f"{network:<15} {threads:>7} {latency.latency_ms:>10.3f} {latency.details['spread']:>7.1%}   "
            f"{' '.join(f'{ms:.3f}' for ms in figures)}; {published}"
        )
    for source in dict.fromkeys(row["source"] for rows in _published().values() for row in rows):
        say(f"published: {source}")


def _write_zip(path, logs):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, text) in enumerate(logs):
            archive.writestr(f"{number:03d}-{name}", text)
