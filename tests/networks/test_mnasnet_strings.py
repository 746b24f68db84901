"""Blocks and networks as plain data: strings and JSON both ways, canonical form, messages."""

import pytest

from mnas_tf.spaces.mnasnet import Block, MnasNet
from nas_tf.trial import UserError


@pytest.mark.parametrize(
    "text,canonical",
    [
        ("r1_k3_s22_e1_i16_o16", "r1_k3_s22_e1_i16_o16_noskip"),  # an identity cannot halve the size
        ("r1_k3_s22_e1_i16_o16_pool", "r1_k3_s22_e1_i16_o16_pool"),  # a pool can
        ("r1_k3_s11_e1_i16_o24_pool", "r1_k3_s11_e1_i16_o24_noskip"),  # neither can change the filters
        ("r2_k3_s22_e1_i16_o24_pool", "r2_k3_s22_e1_i16_o24_pool"),  # the second layer keeps them
        ("r1_k3_s11_e6_i16_o16_conv", "r1_k3_s11_e1_i16_o16_conv"),
        ("r1_k3_s11_e6_i16_o16_se0", "r1_k3_s11_e6_i16_o16"),
    ],
)
def test_canonical_form_of_one_block(text, canonical):
    assert str(MnasNet.parse(text)) == canonical


def test_expansion_one_is_the_separable_convolution():
    assert Block("mbconv", 1, 3, 1, 1, 8, 8) == Block("sepconv", 1, 3, 1, 6, 8, 8) == Block.parse("r1_k3_s11_e1_i8_o8")


@pytest.mark.parametrize(
    "text",
    [
        "r1_k3_s11_e1_i32_o16_noskip",
        "r3_k5_s22_e3_i24_o40_se0.25",
        "r5_k7_s11_e9_i96_o96",
        "r2_k3_s22_e1_i16_o24_se0.25_conv_pool",
    ],
)
def test_block_strings_go_both_ways(text):
    assert str(Block.parse(text)) == text
    assert Block.parse("_".join(reversed(text.split("_")))) == Block.parse(text)


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "Expected a block as r1_k3_s11_e1_i32_o16.*Received: '' in ''"),
        ("r1_k3_s11_e1_i32", "no 'o' in 'r1_k3_s11_e1_i32'"),
        ("r1_k3_s1_e1_i32_o16", "Expected a stride from 1 to 9, twice, as s22. Received: s1 in"),
        ("r1_k3_s12_e1_i32_o16", "Received: s12 in"),
        ("r1_k3_s11_e1_i32_o16_q2", "Received: 'q2' in"),
        ("r1_k3_s11_e1_i32_o16_r2", "Received: 'r2' in"),
        ("r1_k3_s11_e1_i32_o16_pool_noskip", "both pool and noskip"),
        ("r1_k3_s11_e1.5_i32_o16", "Expected a block as"),
        ("r0_k3_s11_e1_i32_o16", "Expected repeats to be a whole number above 0. Received: repeats=0"),
        ("r1_k3_s11_e1_i32_o16_se2", "Expected se_ratio from 0 to 1. Received: se_ratio=2.0"),
        ("r1_k3_s11_e1_i32_o16_senan", "Received: 'senan' in"),
        ("r1_k3_s11_e1_i32_o16 r1_k3_s11_e1_i24_o16", "Expected block 2 to read the 16 filters.*input_filters=24"),
        ("head640", "Expected at least one block"),
    ],
)
def test_parse_errors_say_what_is_wrong(text, message):
    with pytest.raises(UserError, match=message):
        MnasNet.parse(text)


def test_networks_are_written_with_spaces_and_read_with_commas_too():
    network = MnasNet((Block.parse("r1_k3_s11_e1_i8_o8"), Block.parse("r1_k7_s22_e9_i8_o12_noskip")), head_filters=64)
    assert str(network) == "r1_k3_s11_e1_i8_o8 r1_k7_s22_e9_i8_o12_noskip head64"
    assert MnasNet.parse(str(network).replace(" ", ",\n")) == network


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda value: [], "Expected the JSON of a MnasNet to have"),
        (lambda value: value | {"stem": 1}, "Expected the JSON of a MnasNet to have"),
        (lambda value: value | {"blocks": 3}, "Expected a list of blocks. Received: blocks=3"),
        (lambda value: value | {"blocks": [{}]}, "Expected the JSON of a block to have"),
        (lambda value: value | {"head_filters": 1.5}, "Expected head_filters to be a whole number above 0"),
        (lambda value: value | {"blocks": [value["blocks"][0] | {"op": "mlp"}]}, "Expected op to be one of"),
    ],
)
def test_damaged_json_is_refused(change, message):
    value = MnasNet.parse("r1_k3_s11_e1_i8_o8").to_json()
    with pytest.raises(UserError, match=message):
        MnasNet.from_json(change(value))
