"""DropPath and its schedule: rates, expectation, inference, saving in mid-schedule, another backend."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from weightless import without_weights

from nas_tf.networks.drop_path import DropPath, TrainingProgress, set_total_steps
from nas_tf.trial import UserError
from nasnet_tf.published import NASNET_A
from nasnet_tf.spaces.nasnet import Scale, build

EXAMPLES = 20_000
# Five standard deviations of a share among 20,000 examples: one in 1.7 million checks fails by chance.
BOUND = 5 * 0.5 / EXAMPLES**0.5


def network(keep=0.6, total_steps=100):
    """ones [batch, 1, 1, 2] -> three drop paths at three depths of a network of ten cells."""
    inputs = keras.Input((1, 1, 2))
    progress = TrainingProgress(name="progress")(inputs)
    paths = [DropPath(1 - depth * (1 - keep), seed=n)((inputs, progress)) for n, depth in enumerate((0.1, 0.5, 1.0))]
    model = keras.Model(inputs, paths)
    set_total_steps(model, total_steps)
    return model


def share_dropped(outputs):
    return [float((np.asarray(each)[:, 0, 0, 0] == 0).mean()) for each in outputs]


def test_the_rate_follows_training_and_depth():
    model, ones = network(), np.ones((EXAMPLES, 1, 1, 2), "float32")
    for step in range(101):
        outputs = model(ones[: EXAMPLES if step in (0, 25, 50, 75, 100) else 1], training=True)
        if step in (0, 25, 50, 75, 100):
            # NASNet's code: keep <- 1 - depth (1 - keep), then keep <- 1 - step / total (1 - keep).
            for depth, share, output in zip((0.1, 0.5, 1.0), share_dropped(outputs), outputs):
                expected = step / 100 * depth * 0.4
                assert abs(share - expected) <= (BOUND if step else 0), (step, depth)
                values = np.unique(np.asarray(output))
                kept = values[values > 0]
                np.testing.assert_allclose(kept, 1 / (1 - expected), rtol=1e-5)
                # The mean's deviation is that of the share, over what is kept (0.6 at least).
                assert abs(np.asarray(output).mean() - 1) <= BOUND / 0.6
    # Beyond the last step the rate stays.
    assert abs(share_dropped(model(ones, training=True))[2] - 0.4) <= BOUND


def test_whole_examples_are_dropped():
    output = np.asarray(DropPath(0.5, seed=0)(np.ones((64, 3, 4, 5), "float32"), training=True))
    assert set(np.unique(output.reshape(64, -1).sum(axis=1))) == {0.0, 120.0}


def test_nothing_happens_at_inference():
    model, ones = network(), np.ones((8, 1, 1, 2), "float32")
    for _ in range(3):
        for output in model(ones, training=False):
            np.testing.assert_array_equal(output, ones)
    assert int(model.get_layer("progress").step) == 0


def test_a_schedule_without_an_end_drops_nothing():
    model, ones = network(total_steps=0), np.ones((64, 1, 1, 2), "float32")
    for _ in range(5):
        assert share_dropped(model(ones, training=True)) == [0, 0, 0]


def test_a_saved_model_goes_on_in_mid_schedule(tmp_path):
    model, ones = network(), np.ones((EXAMPLES, 1, 1, 2), "float32")
    for _ in range(50):
        model(ones[:1], training=True)
    model.save(tmp_path / "half.keras")
    model.save_weights(tmp_path / "half.weights.h5")
    weights = network()
    weights.load_weights(tmp_path / "half.weights.h5")
    for loaded in (keras.saving.load_model(tmp_path / "half.keras"), weights):
        progress = loaded.get_layer("progress")
        assert (int(progress.step), int(progress.total_steps)) == (50, 100)
        # The generators' states are saved too: the same examples are dropped.
        expected = network()
        expected.load_weights(tmp_path / "half.weights.h5")
        for ours, theirs in zip(loaded(ones, training=True), expected(ones, training=True)):
            np.testing.assert_array_equal(ours, theirs)
        assert abs(share_dropped(loaded(ones, training=True))[2] - 0.51 * 0.4) <= BOUND


def test_training_drives_the_schedule():
    """`fit`, compiled: the count is no Python number frozen into the graph."""
    model = network(total_steps=6)
    model = keras.Model(model.inputs, keras.layers.Add()(model.outputs))
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.ones((12, 1, 1, 2)), np.ones((12, 1, 1, 2)), batch_size=4, epochs=2, verbose=0)
    model.evaluate(np.ones((12, 1, 1, 2)), np.ones((12, 1, 1, 2)), batch_size=4, verbose=0)
    assert int(model.get_layer("progress").step) == 6


@pytest.mark.parametrize(
    "version,first,last",
    [
        # 3 Normal and 2 Reduction cells: the last cell is at depth 5/5, the first at 1/5.
        ("v3", 1 - 0.4 / 5, 0.6),
        ("v2", 1 - 0.4 / 5, 0.6),
        ("v1", 0.6, 0.6),
        ("constant", 0.6, 0.6),
    ],
)
def test_versions(version, first, last):
    with without_weights():
        model = build(NASNET_A, Scale(16, 2, 1, 2, "cifar", drop_path_keep=0.6, drop_path=version))
    drops = {layer.name: layer for layer in model.layers if isinstance(layer, DropPath)}
    assert drops["stage1_cell1_block1_left_drop"].keep == pytest.approx(first)
    assert drops["stage3_cell1_block1_left_drop"].keep == pytest.approx(last)
    # Nine operations of NASNet-A's Reduction cell are no identity, eight of its Normal cell.
    assert len(drops) == 3 * 8 + 2 * 9
    scheduled = any(isinstance(layer, TrainingProgress) for layer in model.layers)
    assert scheduled == (version in ("v1", "v3"))


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, float("nan"), "half", True])
def test_a_keep_outside_its_range_is_refused(keep):
    with pytest.raises(UserError, match=r"drop_path_keep to be above 0 and at most 1. Received: drop_path_keep="):
        DropPath(keep)


@pytest.mark.real
def test_the_same_under_jax():
    """The tests above that involve no file, in a process of its own under another backend of Keras."""
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        return
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    process = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-2000:]
