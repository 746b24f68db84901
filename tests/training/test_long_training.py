"""Training with a log: interrupted and resumed it gives the weights of an uninterrupted run; damaged files; devices."""

import json
import os
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image

from nas_tf.datasets import Images
from nas_tf.networks.drop_path import DropPath, TrainingProgress
from nas_tf.training import checkpoint
from nas_tf.training.machine import Machine
from nas_tf.training.network import train_network
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import Log, train
from nas_tf.trial import UserError


class Pictures:
    """40 images of 8 px, each class of another brightness, augmented by shifts and flips."""

    augmentation, num_classes, class_names = "shift_flip", 2, ("dark", "light")

    def train(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 40).astype(np.int32)
        images = rng.integers(0, 128, (40, 8, 8, 3)) + 100 * labels[:, None, None, None]
        return Images(images.astype(np.uint8), labels)

    validation = test = train


# Everything that has a state: momentum, mean squares, averages, dropout, drop path and its schedule, augmentation.
RECIPE = Recipe(
    3,
    batch_size=16,
    optimizer="rmsprop",
    learning_rate=0.01,
    epsilon=1e-3,
    ema_decay=0.9,
    weight_decay=1e-3,
    weight_decay_form="l2",
    cutout_fraction=0.3,
)


def network(_=None):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9, name="bn")(x)
    x = DropPath(0.7, name="drop")((x, TrainingProgress(name="progress")(inputs)))
    x = keras.layers.Dropout(0.2, name="dropout")(keras.layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="predictions")(x))


def trained(log):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = network()
    return model, train(model, Pictures(), RECIPE, seed=3, log=log)


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [2, 3, 8])  # in mid-epoch, at an epoch's end (of 3 steps), near the very end
def test_a_training_that_was_stopped_ends_as_if_it_had_not(tmp_path, monkeypatch, step):
    whole, uninterrupted = trained(Log(tmp_path / "whole.npz"))
    save, log = checkpoint.save, Log(tmp_path / "stopped.npz", minutes=1e-9)

    def save_and_die(path, model, place):
        save(path, model, place)
        if place["step"] == step:
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        trained(log)
    monkeypatch.setattr(checkpoint, "save", save)
    assert checkpoint.read_place(log.path)["step"] == step
    resumed, outcome = trained(log)
    for one, other in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    assert outcome.accuracy == uninterrupted.accuracy
    rows = [[{**row, "seconds": 0} for row in each.history] for each in (uninterrupted, outcome)]
    assert rows[0] == rows[1] and [row["epoch"] for row in rows[0]] == [1, 2, 3]
    # One that has ended is not trained again.
    again, _ = trained(log)
    np.testing.assert_array_equal(again.get_layer("conv").get_weights()[0], whole.get_layer("conv").get_weights()[0])


def test_checkpoints_that_are_no_help(tmp_path):
    log = Log(tmp_path / "checkpoint.npz", asked={"epochs": 3})
    trained(log)
    content = log.path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:2000] + b"\0" * 64 + content[2064:]):
        log.path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"no whole checkpoint.*Remove it to begin anew"):
            trained(log)
    log.path.write_bytes(content)
    with pytest.raises(UserError, match=r"begun with other settings: epochs=4 \(was 3\)"):
        trained(Log(log.path, asked={"epochs": 4}))
    inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs)))
    with pytest.raises(UserError, match="is of another training: expected variable"):
        train(other, Pictures(), RECIPE, log=log)


def test_mixed_precision_trains_what_ships_in_float32():
    model, outcome = train_network(
        network,
        types.SimpleNamespace(image_size=8),
        Pictures(),
        RECIPE,
        0,
        machine=Machine(precision="mixed_bfloat16"),
    )
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert outcome.accuracy.validation > 0.5 and outcome.accuracy.test is None
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    "knobs,words",
    [
        ({"virtual_cpu_devices": 2}, "virtual_cpu_devices=2 --distribution=none"),
        ({"distribution": "mirrored", "virtual_cpu_devices": -1}, "virtual_cpu_devices to be at least 0"),
        ({"distribution": "multi_worker"}, "found no devices to use: TF_CONFIG"),
    ],
)
def test_machines_that_are_none(knobs, words, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match=words):
        Machine(**knobs).start()


def test_one_of_several_machines_writes(monkeypatch):
    cluster = {"worker": ["a:1", "b:1"]}
    for index, is_chief in ((0, True), (1, False)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}))
        assert Machine("multi_worker").is_chief is is_chief
    assert Machine("mirrored").is_chief


@pytest.mark.parametrize("written", ["{", "[1]", '{"task": 1}', "[" * 10**5])
def test_a_tf_config_of_another_shape_is_refused(monkeypatch, written):
    monkeypatch.setenv("TF_CONFIG", written)
    with pytest.raises(UserError, match="Expected TF_CONFIG to be a JSON object of cluster and task"):
        Machine(distribution="multi_worker").is_chief  # noqa: B018


@pytest.mark.real
def test_several_devices_train_as_one(tmp_path):
    """`mnas-train --distribution` on two virtual devices, and on two machines that are processes here: the losses of
    one device, for 20 steps."""
    rng = np.random.default_rng(0)
    for label in range(2):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{i}.png")
    alone = start(tmp_path, "one", "two")
    cluster = {"worker": [f"localhost:{free_port()}" for _ in range(2)]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    workers = [start(tmp_path, "worker", TF_CONFIG=json.dumps(task)) for task in tasks]
    losses = losses_of(alone)
    assert len(losses["one"]) == 20 and losses["one"][-1] < losses["one"][0]  # it learned
    np.testing.assert_allclose(losses["two"], losses["one"], atol=1e-4)
    for worker in workers:
        np.testing.assert_allclose(losses_of(worker)["worker"], losses["one"], atol=1e-4)
    assert (tmp_path / "worker" / "architecture.json").exists()  # one of them wrote it


def start(folder, *names, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(folder), *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def losses_of(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def free_port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


# All 32 training images are one step, so that the epochs' losses are those of 20 steps. Devices come first: TensorFlow
# makes them before it computes anything.
TRAIN = """
import dataclasses, json, sys
from mnas_tf import train
from mnas_tf.recipes import PLANS
from nas_tf.apps import train as command
from nas_tf.networks.folder import write_description
from nas_tf.training.machine import Machine

# Who writes is asked here, and not what: TFLite files and SavedModels are other tests'.
def write(folder, model, description, space):
    write_description(folder, description)
    return description

command.write_network = write

# What must not depend on the devices: the clipped norm, L2, averages.
recipe = dataclasses.replace(
    PLANS["quick"].recipe, gradient_clip_norm=0.3, weight_decay=1e-3, weight_decay_form="l2", ema_decay=0.9
)
PLANS["quick"] = dataclasses.replace(PLANS["quick"], recipe=recipe)
machines = {"two": Machine("mirrored", 2), "one": Machine(), "worker": Machine("multi_worker")}
folder, losses = sys.argv[1], {}
for name in sorted(sys.argv[2:], reverse=True):
    settings = train.Settings(
        architecture="r1_k3_s22_e1_i32_o8_noskip r1_k3_s22_e3_i8_o16_se0.25", dataset="image_folder",
        data_dir=f"{folder}/images", out_dir=f"{folder}/{name}", image_size=16, width_multiplier=0.5, epochs=20,
        batch_size=32, dropout_rate=0.0, learning_rate=0.05,
    )
    description = train.train(settings, machines[name], {"image_folder": {"augmentation": "none"}})
    losses[name] = [row["loss"] for row in description.history]
print(json.dumps(losses))
"""
