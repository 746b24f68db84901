"""Sizes that come from outside are bounded before memory is taken."""

import functools
import json
import time
import zipfile

import h5py
import keras
import pytest
from support import peak_mb

from mnas_tf.published import ARCHITECTURES
from mnas_tf.spaces.mnasnet import MnasNet
from nas_tf.networks import folder, weights
from nas_tf.trial import UserError

BLOCK = "r1_k3_s11_e1_i32_o16_noskip"


@pytest.mark.parametrize(
    "text, words",
    [
        (BLOCK.replace("r1", "r99999999"), "Expected repeats to be at most 64"),
        (BLOCK.replace("k3", "k33"), "Expected kernel_size to be at most 31"),
        (BLOCK.replace("e1", "e65"), "Expected expansion_ratio to be at most 64"),
        (BLOCK.replace("o16", "o65537"), "Expected filters to be at most 65,536"),
        (BLOCK.replace("i32", "i65537"), "Expected input_filters to be at most 65,536"),
        (BLOCK.replace("r1", f"r{'9' * 5000}"), "Expected numbers of at most 9 digits"),
        (f"{BLOCK} head65537", "Expected head_filters to be at most 65,536"),
        (" ".join(["r1_k3_s11_e1_i8_o8"] * 129), "Expected at most 128 blocks"),
    ],
)
def test_a_block_string_of_too_much_is_refused_in_no_time(text, words):
    begin = time.perf_counter()
    with pytest.raises(UserError, match=words) as error:
        MnasNet.parse(text)
    assert time.perf_counter() - begin < 1 and len(str(error.value)) < 300


def test_published_networks_are_far_within_the_bounds():
    for network in ARCHITECTURES.values():
        assert MnasNet.from_json(network.to_json()) == network


@pytest.fixture
def bombs(tmp_path):
    """A dict of name to file that declares 3 GB and holds a few kilobytes."""
    declared = 3 * 10**9 // 4

    def weights(path, external=None):
        with h5py.File(path, "w") as file:
            variables = file.create_group("layers/dense/vars")
            variables.attrs["name"] = "dense"
            if external:
                variables.create_dataset("0", (16,), "u1", external=[(external, 0, 16)])
            else:
                variables.create_dataset("0", (declared,), "f4", chunks=(2**20,))  # of which none is written
        return path

    def archive(path, **members):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name.replace("__", "."), content)
        return path

    hidden = tmp_path / "secret.txt"
    hidden.write_bytes(b"0123456789abcdef")
    inner = weights(tmp_path / "inner.h5").read_bytes()
    return {
        "arrays": weights(tmp_path / "a.weights.h5"),
        "arrays of an archive": archive(tmp_path / "b.keras", config__json="{}", model__weights__h5=inner),
        "members": archive(tmp_path / "c.keras", config__json="{}", model__weights__h5=bytes(200 * 2**20)),
        "another file": weights(tmp_path / "d.weights.h5", external=str(hidden)),
    }


def test_weights_that_declare_far_more_than_they_hold_are_refused_before_memory_is_taken(bombs):
    begin, held_mb = time.perf_counter(), peak_mb(anew=True)
    for name, path in bombs.items():
        words = "reads other files" if name == "another file" else r"has [\d,]+ bytes and declares"
        for read in (weights.read, folder.read_keras):
            if path.suffix == ".keras" or read is weights.read:
                with pytest.raises(UserError, match=words):
                    read(path)
    assert peak_mb() - held_mb < 500
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("where", ["in the network", "beside it", "of no number", "in a metric"])
def test_layers_far_larger_than_their_file_are_refused_before_memory_is_taken(tmp_path, where):
    """Of 2 GB: 100 million units of five weights each, or a metric's matrix of 20,000 classes squared."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="large")(inputs))
    model.save(tmp_path / "small.keras")
    with zipfile.ZipFile(tmp_path / "small.keras") as small, zipfile.ZipFile(tmp_path / "large.keras", "w") as large:
        config = json.loads(small.read("config.json"))
        layer = config["config"]["layers"][1]
        if where != "in the network":  # Keras builds a layer that no other one reads, too
            layer = json.loads(json.dumps({**layer, "name": "lone", "inbound_nodes": []}))
            layer["config"]["name"] = "lone"
            config["config"]["layers"].append(layer)
        if where == "in a metric":  # Keras makes it where it expects an activation, too
            metric = {"module": "keras.metrics", "class_name": "MeanIoU", "config": {"num_classes": 20_000}}
            layer["config"]["activation"] = {**metric, "registered_name": None}
        else:
            layer["config"]["units"] = 10**8
        if where == "of no number":
            layer["build_config"] = {"input_shape": [None, "4"]}
        for member in small.namelist():
            large.writestr(member, json.dumps(config) if member == "config.json" else small.read(member))
    begin, held_mb = time.perf_counter(), peak_mb(anew=True)
    with pytest.raises(UserError, match=r"large\.keras has [\d,]+ bytes and declares 1,600,000,0\d\d"):
        folder.read_keras(tmp_path / "large.keras")
    assert peak_mb() - held_mb < 500
    assert time.perf_counter() - begin < 10
    assert len(folder.read_keras(tmp_path / "small.keras").weights) == 2


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", '{"config": []}', '{"config": {"layers": [1]}}', "[" * 10**5, "\x00"],
    ids=lambda value: repr(value)[:20],
)
def test_a_keras_file_whose_config_is_of_another_shape_is_one_line(tmp_path, content):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    model.save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        for member in whole.namelist():
            bad.writestr(member, content if member == "config.json" else whole.read(member))
    for read in (functools.partial(weights.load, model), folder.read_keras):
        with pytest.raises(UserError, match=r"bad\.keras") as caught:
            read(tmp_path / "bad.keras")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
