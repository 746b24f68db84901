"""Building networks leaves garbage in cycles, and finding it takes longer the more other objects there are."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def modules_out_of_sight():
    """Leaves what exists by now, most of it TensorFlow's own modules, out of every later search for garbage."""
    gc.collect()
    gc.freeze()
