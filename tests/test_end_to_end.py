"""From real images to a network that runs: TFDS, a real device, warm start, mnas-train and mnas-export."""

import json
import sqlite3
import zipfile

import numpy as np
import pytest
from support import CIFAR10_JPEG, script

from mnas_tf.search import Settings, search
from nas_tf.datasets.digits import Digits
from nas_tf.rewards import Limits, Objective
from nas_tf.training.recipe import ProxyRecipe

pytestmark = pytest.mark.real


def query(run_dir, sql):
    db = sqlite3.connect(run_dir / "trials.sqlite")
    rows = db.execute(sql).fetchall()
    db.close()
    return rows


def run_tflite(path, image):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def small(plain_space, run_dir, **changes):
    settings = {
        "run_dir": str(run_dir),
        "search_space": str(plain_space),
        "algorithm": "random_search",
        "device": "simulated",
        "num_trials": 3,
        "proxy_image_size": 8,
        "proxy_samples": 100,
        "deploy_image_size": 32,
        "workers": "inline",
        "final_epochs": 1,
        "final_samples": 100,
    }
    return Settings(**{**settings, **changes})


def test_a_search_times_its_networks_on_this_machine(plain_space, tmp_path, monkeypatch):
    said, splits, read = [], set(), Digits.read
    monkeypatch.setattr(Digits, "read", lambda self, split: splits.add(split) or read(self, split))
    result = search(
        small(plain_space, tmp_path / "run", device="host"),
        Objective(),
        Limits(),
        ProxyRecipe(1),
        {
            "host": {"min_seconds": 0.05, "max_seconds": 0.2, "max_spread": 10.0, "retry_spread": 10.0},
        },
        said.append,
    )
    text = "\n".join(said)
    assert splits == {"train", "validation"}  # the test images are for nas-ship and mnas-train
    assert "no test image was read" in text and "a child must beat 1" in text
    assert "mobilenet_v2's, measured here" in text and "as rehearsed just now" in text and "top 1" in text
    assert set(result.published) == {"mnasnet_a1", "mobilenet_v2", "nasnet_mobile"}
    assert result.goal.target == result.published["mobilenet_v2"].latency.latency_ms
    details = query(tmp_path / "run", "SELECT details FROM measurements WHERE kind = 'latency' AND trial_id = 1")
    timing = json.loads(details[0][0])["latency"]
    assert timing["runs"] >= 30 and {"stable", "spread", "cores"} <= timing["details"].keys()
    accuracies = query(tmp_path / "run", "SELECT value, details FROM measurements WHERE judge = 'proxy'")
    for accuracy, details in accuracies:
        assert json.loads(details)["standard_error"] == pytest.approx((accuracy * (1 - accuracy) / 359) ** 0.5)
    assert query(tmp_path / "run", "SELECT COUNT(*) FROM measurements WHERE judge = 'full training'") == [(1,)]

    # The shipped files are one network: TFLite, Keras and what the search says of it.
    import keras

    best = tmp_path / "run" / "best"
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    model = keras.saving.load_model(best / "model.keras")
    np.testing.assert_allclose(run_tflite(best / "model.tflite", image), model(image), atol=1e-5)
    description = json.loads((best / "architecture.json").read_text())
    assert description["accuracy"]["validation"] == result.accuracy and "test" not in description["accuracy"]
    assert description["weights"] == "trained for 1 epoch at 32 px"

    # The same call again measures nothing and ships the same files.
    before = (best / "model.tflite").stat().st_mtime_ns
    again = search(
        small(plain_space, tmp_path / "run", device="host"),
        Objective(),
        Limits(),
        ProxyRecipe(1),
        {
            "host": {"min_seconds": 0.05, "max_seconds": 0.2, "max_spread": 10.0, "retry_spread": 10.0},
        },
        said.append,
    )
    assert again.trials == result.trials and (best / "model.tflite").stat().st_mtime_ns == before


def test_a_warm_start_judges_anew_and_trains_nothing_again(plain_space, tmp_path):
    old = search(small(plain_space, tmp_path / "old"), Objective(target_latency_ms=1.0), Limits(), ProxyRecipe(1))
    settings = small(plain_space, tmp_path / "new", warm_start=str(tmp_path / "old"), num_trials=4, seed=0)
    largest = max(trial.measurement.cost.num_params for trial in old.trials)
    objective, limits = Objective(target_latency_ms=0.51, reward="absolute"), Limits(max_num_params=largest - 1)
    new = search(settings, objective, limits, ProxyRecipe(1))
    assert len(new.trials) == 3 + 4
    for before, after in zip(old.trials, new.trials):
        assert after.measurement == before.measurement and after.note.startswith("warm start: ")
        latency_ms = before.measurement.cost.latency.latency_ms
        if before.measurement.cost.num_params == largest:
            assert after.state == "infeasible" and after.reward == -1.0  # the floor of this reward
        else:
            relative = latency_ms / 0.51 - 1
            assert after.reward == pytest.approx(before.measurement.accuracy - 0.1 * abs(relative))
    # The seed is the old run's, so that the new one suggests its three networks again: they are copies.
    assert [trial.state for trial in new.trials[3:6]] == [trial.state for trial in new.trials[:3]]
    copies = "SELECT COUNT(*) FROM measurements WHERE kind = 'latency' AND details LIKE '%copied_from_trial%'"
    assert query(tmp_path / "new", copies)[0][0] >= 1


def test_a_data_set_that_tfds_wrote_trains_a_child(plain_space, tmp_path):
    if not CIFAR10_JPEG.exists():
        pytest.skip(f"needs {CIFAR10_JPEG}")
    import io

    import tensorflow_datasets as tfds
    from PIL import Image

    classes, images = ("cat", "ship", "truck"), {"train": [], "test": []}
    with zipfile.ZipFile(CIFAR10_JPEG) as archive:
        for name in archive.namelist():
            _, split, label, _ = (*name.split("/"), "", "")[:4] if name.endswith(".jpg") else ("", "", "", "")
            count = sum(each["label"] == label for each in images.get(split, []))
            if label in classes and count < (40 if split == "train" else 10):
                pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))))
                images[split].append({"image": pixels, "label": label})
    tfds.dataset_builders.store_as_tfds_dataset(
        "three_of_cifar",
        "1.0.0",
        data_dir=tmp_path / "tfds",
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(32, 32, 3)), "label": tfds.features.ClassLabel(names=classes)}
        ),
        split_datasets={split: list(enumerate(examples)) for split, examples in images.items()},
    )
    process = script(
        "mnas-search",
        f"--run_dir={tmp_path / 'run'}",
        f"--search_space={plain_space}",
        "--dataset=tfds",
        "--tfds_name=three_of_cifar",
        f"--data_dir={tmp_path / 'tfds'}",
        "--device=simulated",
        "--num_trials=1",
        "--algorithm=random_search",
        "--proxy_epochs=1",
        "--deploy_image_size=32",
        "--final_epochs=0",
        "--workers=inline",
        "--target_latency_ms=1",
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "of 3 classes" in process.stdout
    assert query(tmp_path / "run", "SELECT state FROM trials") == [("done",)]
    assert query(tmp_path / "run", "SELECT accuracy FROM trials")[0][0] >= 0


def test_train_and_export(tmp_path):
    out = tmp_path / "small"
    process = script(
        "mnas-train",
        "--architecture=r1_k3_s22_e1_i32_o8_noskip r1_k3_s22_e3_i8_o16_se0.25",
        f"--out_dir={out}",
        "--image_size=32",
        "--width_multiplier=0.5",
        "--epochs=1",
        "--num_samples=100",
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "validation accuracy " in process.stdout and "test accuracy " in process.stdout
    assert f"the test images have been read once for {out}" in process.stdout
    process = script(
        "mnas-export",
        f"--network_dir={out}",
        f"--out_dir={tmp_path / 'files'}",
        "--host_min_seconds=0.1",
        "--host_max_spread=10",
        "--host_retry_spread=10",
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "latency on host: " in process.stdout
    image = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(
        run_tflite(out / "model.tflite", image), run_tflite(tmp_path / "files" / "model.tflite", image)
    )
    # What was trained can be trained again from its own architecture.json, but not over itself.
    same = script("mnas-train", f"--architecture={out / 'architecture.json'}", f"--out_dir={out}")
    assert same.returncode == 2 and "holds a network already" in same.stderr


def test_the_hub_loads_what_a_search_exports(plain_space, tmp_path):
    hub = pytest.importorskip("tensorflow_hub")
    import keras

    # The controller shares its process with the children here.
    settings = small(plain_space, tmp_path / "run", num_trials=4, algorithm="ppo")
    search(settings, Objective(target_latency_ms=1.0), proxy=ProxyRecipe(1), parts={"ppo": {"batch_size": 2}})
    best = tmp_path / "run" / "best"
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    expected = keras.saving.load_model(best / "model.keras")(images)
    np.testing.assert_allclose(hub.load(str(best / "saved_model"))(images), expected, atol=1e-5)
    np.testing.assert_allclose(hub.KerasLayer(str(best / "saved_model"))(images), expected, atol=1e-5)
