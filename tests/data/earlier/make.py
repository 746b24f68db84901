"""Makes the small files in this folder with the commit that is named in README.md; run there, from this folder."""

import importlib.util
import pathlib
import re
import shutil
import sys

import keras
from nas_tf.drop_path import DropPath, TrainingProgress
from nas_tf.latency_table import LatencyTable
from nas_tf.recipe import ProxyRecipe

from mnas_tf.search import Settings, search
from nas_tf import shipping
from nas_tf.rewards import Objective

root = pathlib.Path(sys.argv[1])
blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), flags=re.DOTALL)
pathlib.Path("plain_space.py").write_text(next(block for block in blocks if block.startswith("# plain_space.py")))


spec = importlib.util.spec_from_file_location("toys", root / "tests" / "shipping.py")
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)

pathlib.Path("toy_device.py").write_text(toys.DEVICE)
settings = Settings(
    run_dir="run",
    search_space="plain_space.py",
    algorithm="random_search",
    device="simulated",
    num_trials=3,
    workers="inline",
    proxy_image_size=8,
    proxy_samples=100,
    deploy_image_size=16,
    final_epochs=1,
    final_samples=100,
)
search(settings, Objective(target_latency_ms=1.0), proxy=ProxyRecipe(1), parts={"random_search": {"batch_size": 3}})
chosen = shipping.Settings(
    top_k=1,
    recipe="quick",
    epochs=1,
    batch_size=32,
    num_samples=100,
    number_types=("float32",),
    baselines=(),
    device="toy_device.py",
)
shipping.ship("run", chosen, device_settings={"log": "log"})
for path in pathlib.Path("run").rglob("*"):
    if path.name in ("tensorboard", "saved_model") and path.is_dir():
        shutil.rmtree(path)
for path in pathlib.Path("run").rglob("*.png"):
    path.unlink()
LatencyTable("mnasnet", {"image_size": 32}, {"device": "host"}, 0.1, {"stem": 0.25}, {"made_at": "2026"}).write(
    "table.json"
)
inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
x = DropPath(0.7, name="drop")((x, TrainingProgress(name="progress")(inputs)))
x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="predictions")(x)).save("drop_path.keras")
