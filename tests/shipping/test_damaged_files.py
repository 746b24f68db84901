"""A damaged file in best/ or ship/ is noticed, although its size has not changed, and made anew."""

import dataclasses
import json

import pytest
import toy_networks

from mnas_tf.search import Settings, search
from nas_tf.networks.description import NetworkDescription
from nas_tf.networks.folder import read_description, read_network
from nas_tf.rewards import Objective
from nas_tf.shipping.files import write_files
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import UserError

pytestmark = pytest.mark.real


def damage(path):
    """Changes one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def test_a_damaged_file_in_best_is_made_anew(plain_space, tmp_path):
    settings = Settings(
        run_dir=str(tmp_path / "run"),
        search_space=str(plain_space),
        algorithm="random_search",
        device="simulated",
        num_trials=1,
        proxy_image_size=8,
        proxy_samples=50,
        deploy_image_size=32,
        workers="inline",
        final_epochs=0,
    )

    def run(chosen=settings):
        search(chosen, Objective(target_latency_ms=1.0), None, ProxyRecipe(1), say=lambda line: None)

    run()
    best = tmp_path / "run" / "best"
    digests = json.loads((best / "architecture.json").read_text())["files"]
    assert set(digests) == {"model.keras", "model.tflite", "saved_model"}
    for path in (best / "model.tflite", best / "saved_model" / "saved_model.pb", best / "model.keras"):
        damaged = damage(path)
        if path.name == "model.keras":
            with pytest.raises(UserError, match=r"model\.keras is damaged: its SHA-256 is not the one in architecture"):
                read_network(best)
        run()
        assert path.read_bytes() != damaged
        read_network(best)
    # Whole files stay as they are.
    before = (best / "model.tflite").stat().st_mtime_ns
    run(dataclasses.replace(settings))
    assert (best / "model.tflite").stat().st_mtime_ns == before


def test_a_damaged_file_that_ships_is_made_anew(tmp_path):
    model = toy_networks.quantises_badly()
    description = NetworkDescription("toy", {"image_size": 12}, ("red", "green", "blue"), {"name": "toy"})

    def write():
        said = []
        write_files(model, description, tmp_path, number_types=("float32", "float16"), say=said.append)
        return said

    assert len(write()) == 4 and write() == []
    for name in ("model.tflite", "model_float16.tflite", "saved_model/saved_model.pb", "model.keras"):
        damaged = damage(tmp_path / name)
        assert [line.split(":")[0] for line in write()] == [name.split("/")[0]]
        assert (tmp_path / name).read_bytes() != damaged


def test_an_export_into_the_folder_of_a_network_keeps_its_digests(tmp_path):
    from nas_tf.networks.folder import is_whole, write_description

    description = NetworkDescription("toy", {"image_size": 12}, ("red", "green", "blue"), {"name": "toy"})
    write_description(tmp_path, dataclasses.replace(description, files={"model.keras": "of an earlier model.keras"}))
    write_files(toy_networks.quantises_badly(), description, tmp_path, number_types=("float32",), say=lambda line: None)
    found = read_description(tmp_path)
    assert is_whole(tmp_path, found) and set(found.files) == {"model.keras", "model.tflite", "saved_model"}
