"""The benchmark that carries cells over: its networks are tested on images that nothing chose by."""

import numpy as np
import pytest
from image_support import TEST_SIZES, TRAIN_SIZES, write_images

from benchmarks import cell_transfer
from nasnet_tf.spaces.nasnet import SPACE


@pytest.mark.real
def test_a_cell_is_trained_tested_and_told(tmp_path, capsys):
    write_images(tmp_path / "images" / "train", "train", TRAIN_SIZES)
    write_images(tmp_path / "images" / "test", "test", TEST_SIZES)
    knobs = cell_transfer.Knobs(transfer_dir=str(tmp_path / "images"), image_size=32, cells=1, epochs=1)
    cell = cell_transfer.row("random 1", (0,) * len(SPACE.num_choices), None, 16, 1_000_000)
    found = cell_transfer.train_large(knobs, cell, seed=0)
    assert found["num_images"] > sum(TEST_SIZES)
    right = found["test"] * found["num_images"]
    assert right == pytest.approx(round(right)) and 0 <= found["test"] <= 1
    rows = [found, dict(found, test=0.25), dict(found, test=0.5), dict(found, test=0.75)]
    cell_transfer.table([dict(cell, name=f"cell {n}") for n in range(4)], [[each] for each in rows])
    said = capsys.readouterr().out
    assert "cell 1" in said and "25.00" in said and "95 % interval over 2 cells" in said


def test_the_permutation_test_counts_ways_to_deal_again():
    first, second = np.array([3.0, 4.0]), np.array([1.0, 2.0])
    assert cell_transfer.permuted(first, second) == pytest.approx(1 / 6)
    assert cell_transfer.permuted(second, first) == pytest.approx(1.0)
