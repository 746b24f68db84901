"""What damage means, from networks whose accuracies are known."""

import numpy as np
import pytest

from nas_tf.accuracy_tables import prediction

SIZES = (64, 48, 32)
BASE = {64: 0.75, 48: 0.7, 32: 0.6}
WEIGHTS = np.array([0.1, 0.3, 0.0, 0.2])


def networks(count, noise, seed=0):
    rng = np.random.default_rng(seed)
    sizes, damages = rng.choice(SIZES, count), rng.uniform(0, 0.5, (count, len(WEIGHTS)))
    reached = np.array([BASE[size] for size in sizes]) - damages @ WEIGHTS + rng.normal(0, noise, count)
    return sizes, damages, reached


def test_a_law_without_noise_is_found():
    found = prediction.fit(*networks(60, 0.0))
    assert found.sizes == pytest.approx(BASE, abs=5e-3)
    np.testing.assert_allclose(found.weights, WEIGHTS, atol=0.01)
    sizes, damages, reached = networks(30, 0.0, seed=1)
    assert prediction.compare(found.predict(sizes, damages), reached)["mean_absolute_error_points"] < 0.3


def test_noise_is_smoothed_and_weights_are_no_gain():
    found = prediction.fit(*networks(24, 0.01))
    assert min(found.weights) >= 0 and found.sizes[64] >= found.sizes[48] >= found.sizes[32]
    sizes, damages, reached = networks(200, 0.0, seed=1)
    assert prediction.compare(found.predict(sizes, damages), reached)["mean_absolute_error_points"] < 1
    assert 0.3 < found.cross_validated_points < 2


def test_one_size_and_few_networks():
    _, damages, _ = networks(12, 0.0)
    found = prediction.fit(np.full(12, 64), damages, 0.75 - damages @ WEIGHTS)
    assert found.sizes == pytest.approx({64: 0.75}, abs=0.02)
    assert found.predict([64], [[9.0] * 4])[0] == 0.0  # an accuracy is none below 0


def test_how_far_it_is_off():
    found = prediction.compare([0.5, 0.6, 0.7], [0.52, 0.59, 0.75])
    assert found == {
        "mean_absolute_error_points": pytest.approx(8 / 3),
        "rank_correlation": pytest.approx(1.0),
        "worst": 2,
        "worst_error_points": pytest.approx(-5.0),
    }
    assert prediction.compare([0.5, 0.6], [1.0, 1.0])["rank_correlation"] is None


def test_a_parents_accuracy_is_none_above_1():
    """Least squares through networks that are all nearly right would have it above."""
    damages = np.linspace(0.2, 1, 12)[:, None]
    found = prediction.fit([64] * 12, damages, 1.02 - 0.1 * damages[:, 0])
    assert found.sizes == {64: 1.0}
