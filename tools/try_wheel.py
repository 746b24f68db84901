"""Installs a wheel into an empty environment of each Python, and does a user's work with its commands.

    python -m build && python tools/try_wheel.py dist/*.whl python3.11 python3.12 python3.13

It fetches some 700 MB for each Python that are not in pip's cache, and takes about 8 minutes for each on two
cores. It ends with a line for each Python, and with status 1 if anything failed.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

PHOTOS = """
import pathlib
import numpy as np
from PIL import Image
rng = np.random.default_rng(0)
for label, colour in {"red": (150, 90, 90), "green": (90, 150, 90), "blue": (90, 90, 150)}.items():
    folder = pathlib.Path("photos", label)
    folder.mkdir(parents=True)
    for number in range(60):
        pixels = rng.normal(colour, 40, (70, 72, 3)).clip(0, 255).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
"""
LOAD = """
import pathlib
import numpy as np
import keras, nas_tf, mnas_tf, nasnet_tf
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from nas_tf.making.made import Made
assert "site-packages" in nas_tf.__file__, nas_tf.__file__
for folder in ("made/ship/network", "run/ship/network", "net_export"):
    folder = pathlib.Path(folder)
    labels = (folder / "labels.txt").read_text().split()
    assert labels == ["blue", "green", "red"], labels
    for path in folder.glob("*.tflite"):
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        assert interpreter.get_output_details()[0]["shape"][-1] == 3
    tf.saved_model.load(str(folder / "saved_model"))
model = keras.models.load_model("made/ship/network/model.keras")
assert model(np.zeros((1, *model.input_shape[1:]), "float32")).shape == (1, 3)
print(Made("made").predict("photos/red/0.jpg"))
"""
FAST = "--algorithm=random_search --host_min_seconds=0.05 --host_max_seconds=0.2 --host_max_spread=9"
TINY = f"--workers=inline {FAST}"
CHILD = "--proxy_image_size=32 --proxy_epochs=1 --deploy_image_size=64 --final_epochs=0"
CELLS = "--proxy_image_size=16 --proxy_cells=1 --proxy_filters=4 --proxy_epochs=1 --final_epochs=0"
DEPLOYED_CELLS = "--deploy_image_size=32 --deploy_stem=cifar --deploy_cells=1 --deploy_filters=8"
MAKE = "nas-make photos --out_dir=made --preset=quick --hours=0.15"
TRAIN = "mnas-train --architecture=run/best/architecture.json --data_dir=photos --epochs=1 --out_dir=net"
# Each with its exit status and with what it has to print.
COMMANDS = (
    ("nas-make --version", 0, "mobile-nas-tf"),
    (f"{MAKE} --num_trials=2 --deploy_image_size=64 --num_workers=1 {FAST}", 0, "made"),
    (f"{MAKE} --deploy_image_size=96", 2, "choose another --out_dir"),
    ("nas-predict made photos/red", 0, "0.jpg"),
    (f"mnas-search --run_dir=run --data_dir=photos --num_trials=2 {CHILD} {TINY}", 0, "top 1"),
    ("nas-trials run", 0, "done"),
    ("nas-report run made --out=both.html", 0, "both.html"),
    ("nas-ship run --top_k=1 --epochs=20 --imports=none --baselines=", 0, "ships: "),
    (TRAIN, 0, "validation accuracy"),
    ("mnas-export --network_dir=net --data_dir=photos --out_dir=net_export --device=none", 0, "model.tflite"),
    (f"nasnet-search --run_dir=cells --data_dir=photos --num_trials=1 {CELLS} {DEPLOYED_CELLS} {TINY}", 0, "top 1"),
    ("nasnet-export --draw --architecture=nasnet_a --out_dir=pictures", 0, "svg"),
    ("nas-phone check", 2, "adb"),
    ("nas-table --help", 0, "Flags:"),
    ("nasnet-train --help", 0, "Flags:"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("python", nargs="*", default=[sys.executable])
    asked = parser.parse_args()
    failed = [python for python in asked.python if not _works(asked.wheel.resolve(), python)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _works(wheel, python):
    """Returns whether everything works with a Python, and says what was done."""
    with tempfile.TemporaryDirectory(prefix="try_wheel_") as folder:
        place = pathlib.Path(folder)
        subprocess.run([python, "-m", "venv", place / "venv"], check=True)
        binaries = place / "venv" / "bin"
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
        subprocess.run([binaries / "python", "-c", PHOTOS], check=True, cwd=place)
        worked = [_runs(place, binaries, line.split(), *expected) for line, *expected in COMMANDS]
        loaded = subprocess.run([binaries / "python", "-c", LOAD], cwd=place, capture_output=True, text=True)
        print(loaded.stdout if loaded.returncode == 0 else loaded.stderr, flush=True)
        commands = {line.split()[0] for (line, *_), works in zip(COMMANDS, worked, strict=True) if works}
        version = subprocess.run([binaries / "python", "--version"], capture_output=True, text=True).stdout.strip()
        is_well = all(worked) and loaded.returncode == 0
        print(f"{version}: {len(commands)} commands work, {'all well' if is_well else 'see above'}", flush=True)
        return is_well


def _runs(place, binaries, words, status, printed):
    """Runs a command, says how it went, and returns whether that is as expected."""
    process = subprocess.run([binaries / words[0], *words[1:]], cwd=place, capture_output=True, text=True)
    text = process.stdout + process.stderr
    is_well = process.returncode == status and printed in text and "Traceback" not in text
    print(f"{'well' if is_well else 'FAILED'}: {' '.join(words)}", flush=True)
    if not is_well:
        print(f"status {process.returncode}, expected {status} and {printed!r}:\n{text[-3000:]}", flush=True)
    return is_well


if __name__ == "__main__":
    main()
