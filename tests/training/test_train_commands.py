"""mnas-train in the same process: initial weights with another head, evaluation alone, mistakes."""

import numpy as np
import pytest
from support import assert_one_line, script

from mnas_tf import train as mnas
from nas_tf.networks.folder import read_description, read_network
from nas_tf.trial import UserError

# Two blocks at width 0.25: a network that is traced in seconds.
TINY = "r1_k3_s22_e1_i32_o8_noskip r1_k3_s22_e3_i8_o16_se0.25"


def image_folder(path, classes, seed=0, size=16):
    """A folder of 12 noisy images a class, each class of another brightness."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        folder = path / name
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 64, (size, size, 3)) + 180 * number // max(1, len(classes) - 1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return str(path)


def settings(out, data, **changes):
    chosen = {
        "architecture": TINY,
        "dataset": "image_folder",
        "data_dir": data,
        "out_dir": str(out),
        "image_size": 16,
        "width_multiplier": 0.25,
        "epochs": 2,
        "batch_size": 8,
    }
    return mnas.Settings(**{**chosen, **changes})


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    """The images, the folder of a network trained on them, and what was written of it."""
    folder = tmp_path_factory.mktemp("two")
    data = image_folder(folder / "images", ("dark", "light"))
    return data, folder / "net", mnas.train(settings(folder / "net", data))


def test_what_names_an_architecture():
    from mnas_tf.family import read_architecture
    from mnas_tf.published import ARCHITECTURES
    from mnas_tf.spaces.mnasnet import SPACE

    assert read_architecture("mnasnet_small", SPACE) == ARCHITECTURES["mnasnet_small"]
    assert [block.filters for block in read_architecture(TINY, SPACE).blocks] == [8, 16]


def test_what_a_training_leaves(two_classes):
    _, net, description = two_classes
    names = {path.name for path in net.iterdir()}
    assert names >= {"architecture.json", "model.keras", "model.tflite", "saved_model", "training.csv", "training.png"}
    assert "checkpoint.npz" not in names
    assert [row["epoch"] for row in description.history] == [1, 2]
    assert len((net / "training.csv").read_text().splitlines()) == 3
    assert description.weights == "trained for 2 epochs at 16 px" and description.accuracy.proxy is None


def test_a_network_with_an_image_size_of_its_own_is_trained_at_that(two_classes, tmp_path, capsys):
    data, _, _ = two_classes
    changes = {"architecture": f"{TINY} px12", "epochs": 1}
    description = mnas.train(settings(tmp_path / "net", data, **changes))
    assert description.scale["image_size"] == 12 and description.weights == "trained for 1 epoch at 12 px"
    assert "made for images of 12 px, and not of --image_size=16" in capsys.readouterr().out
    assert read_network(tmp_path / "net")[0].input_shape == (None, 12, 12, 3)


def test_fine_tuning_with_another_head(two_classes, tmp_path):
    _, net, _ = two_classes
    data = image_folder(tmp_path / "images", ("a", "b", "c"))
    # A step of 1e-9 leaves the weights where they began.
    changes = {"initial_weights": str(net), "learning_rate": 1e-9, "weight_decay": 0.0, "epochs": 1}
    description = mnas.train(settings(tmp_path / "tuned", data, **changes))
    assert "from" in description.weights and "2 classes, the data 3" in description.weights
    (before, _), (after, _) = (read_network(folder) for folder in (net, tmp_path / "tuned"))
    for layer in before.layers:
        if layer.name.endswith("_conv"):
            for one, other in zip(layer.get_weights(), after.get_layer(layer.name).get_weights()):
                np.testing.assert_allclose(one, other, atol=1e-6)
    assert after.outputs[0].shape[-1] == 3


def test_evaluation_alone(two_classes, tmp_path):
    data, net, description = two_classes
    for weights, times in ((str(net), "twice"), (str(net / "model.keras"), "3 times")):
        said, only = [], {"evaluate_only": True, "initial_weights": weights}
        found = mnas.train(settings("", data, image_size=224, **only), say=said.append)
        assert said[0].startswith(f"{weights}: validation accuracy ") and " ± " in said[0]
        assert said[-1] == f"the test images have been read {times} for {net}"
        assert found == {"validation": description.accuracy.validation, "test": description.accuracy.test}
    # Weights alone need the network that they are of.
    model, _ = read_network(net)
    model.save_weights(tmp_path / "net.weights.h5")
    weights = {"evaluate_only": True, "initial_weights": str(tmp_path / "net.weights.h5")}
    assert mnas.train(settings("", data, **weights)) == found
    with pytest.raises(UserError, match="of another: layer"):
        mnas.train(settings("", data, architecture=TINY.replace("o16", "o64"), **weights))


def test_heads_that_do_not_match(two_classes, tmp_path):
    _, net, _ = two_classes
    only = {"evaluate_only": True, "initial_weights": str(net)}
    three = image_folder(tmp_path / "three", ("a", "b", "c"))
    with pytest.raises(UserError, match=r"Expected images of 2 classes, as .* has\. Received: 3"):
        mnas.train(settings("", three, **only))
    others = image_folder(tmp_path / "others", ("cat", "dog"))
    with pytest.raises(UserError, match=r"Expected images of class 'dark'.*Received: 'cat'"):
        mnas.train(settings("", others, **only))


def test_a_training_goes_on_with_the_same_settings_only(two_classes, tmp_path, monkeypatch):
    data, _, description = two_classes
    from nas_tf.apps import train as command

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    # The disk is full when the network is written: the training itself is kept.
    monkeypatch.setattr(command, "write_network", full)
    with pytest.raises(OSError):
        mnas.train(settings(tmp_path / "net", data))
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"begun with other settings: batch_size=4 \(was 8\)"):
        mnas.train(settings(tmp_path / "net", data, batch_size=4))
    again = mnas.train(settings(tmp_path / "net", data))
    assert again.accuracy == description.accuracy and len(again.history) == 2
    assert read_description(tmp_path / "net").accuracy == description.accuracy


@pytest.mark.real
def test_mistakes(two_classes, tmp_path):
    data, net, _ = two_classes
    common = ("mnas-train", "--dataset=image_folder", f"--data_dir={data}", "--image_size=16")
    assert_one_line(script(*common, "--evaluate_only"), 2, "needs --initial_weights")
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes((net / "model.keras").read_bytes()[:5000])
    process = script(*common, f"--out_dir={tmp_path / 'x'}", f"--initial_weights={damaged}")
    assert_one_line(process, 2, "damaged.keras is damaged")
    with pytest.raises(UserError, match="holds a network already"):
        mnas.train(settings(net, data))
    with pytest.raises(UserError, match=r"Expected more epochs than the 5\.0 of the warm-up\. Received: epochs=3"):
        mnas.train(settings(tmp_path / "x", data, recipe="imagenet", epochs=3))
