"""Building networks leaves garbage in cycles, and finding it takes as long as there are other objects to look through."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def modules_out_of_sight():
    """Leaves what exists by now, most of it TensorFlow's own modules, out of every later search for garbage."""
    gc.collect()
    gc.freeze()
