"""Sizes that come from outside are bounded before memory is taken."""

import time

import pytest

from mnas_tf.published import ARCHITECTURES
from mnas_tf.spaces.mnasnet import MnasNet
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
