"""Cells as data: the space's decisions, JSON both ways, one fingerprint for all written forms of a cell."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from nasnet_support import random_tokens, rewritten

from nas_tf.trial import UserError
from nasnet_tf.published import NASNET_A
from nasnet_tf.spaces._operations import _OPERATIONS
from nasnet_tf.spaces.nasnet import OPERATIONS, SPACE, Block, Cell, NASNet, NASNetSpace


def test_the_papers_fifty_decisions():
    # Appendix A: 2 cells x 5 blocks x (2 inputs, 2 operations, 1 combination); block b chooses among b + 1 states.
    assert len(SPACE.decisions) == 50
    states = [2, 3, 4, 5, 6]
    assert SPACE.num_choices == tuple(n for _ in range(2) for s in states for n in (s, s, 13, 13, 2))
    assert SPACE.decisions[25].name == "reduction/block1/input1" and SPACE.decisions[2].choices == OPERATIONS
    assert set(_OPERATIONS) == set(OPERATIONS) and len(OPERATIONS) == 13


def test_blocks_and_operations_are_settings():
    space = NASNetSpace(blocks=3, operations=("identity", "sep_conv_3x3"))
    assert space.num_choices == (2, 2, 2, 2, 2, 3, 3, 2, 2, 2, 4, 4, 2, 2, 2) * 2
    net = space.decode(random_tokens(space, np.random.default_rng(0)))
    assert len(net.normal.blocks) == 3
    for settings, words in (
        ({"blocks": 0}, "blocks to be at least 1 and at most 12. Received: 0"),
        ({"operations": ()}, "operations, the operations to choose from. Received: none"),
        ({"operations": ("sep_conv_9x9",)}, "operations to hold only identity.*Received: sep_conv_9x9"),
        ({"operations": ("identity", "identity")}, "operations once"),
    ):
        with pytest.raises(UserError, match=words):
            NASNetSpace(**settings)


def test_tokens_and_cells_convert_both_ways():
    rng = np.random.default_rng(0)
    for _ in range(200):
        net = SPACE.decode(random_tokens(SPACE, rng))
        assert SPACE.decode(SPACE.encode(net)) == net == net.canonical
        assert SPACE.architecture(json.loads(json.dumps(net.to_json()))) == net
        # Sampled cells give what nobody reads, so that each of their five blocks counts.
        for cell in (net.normal, net.reduction):
            read = {state for block in cell.blocks for state, _ in block.operands}
            assert set(cell.output) == set(range(7)) - read and len(cell.blocks) == 5


def test_every_written_form_has_one_fingerprint():
    rng = np.random.default_rng(1)
    for _ in range(200):
        net = SPACE.decode(random_tokens(SPACE, rng))
        for cell in (net.normal, net.reduction):
            other = rewritten(cell, rng)
            assert other.fingerprint == cell.fingerprint and other.canonical == cell


def test_twins_do_not_confuse_the_canonical_form():
    """Many equal blocks: fingerprints agree exactly where some renumbering makes cells equal."""

    def forms(cell):
        """All written forms, by trying every order of blocks: slow, and without a canonical form."""
        found = set()
        for order in itertools.permutations(range(len(cell.blocks))):
            numbers = {0: 0, 1: 1} | {old + 2: new + 2 for new, old in enumerate(order)}
            blocks = [cell.blocks[i].renumbered(numbers) for i in order]
            if all(state < n + 2 for n, block in enumerate(blocks) for state, _ in block.operands):
                found.add((tuple(blocks), tuple(sorted(numbers[state] for state in cell.output))))
        return found

    space, rng = NASNetSpace(blocks=4, operations=("identity", "conv_1x1")), np.random.default_rng(2)
    cells = [space.decode(random_tokens(space, rng)).normal for _ in range(60)]
    cells += [
        Cell((Block(0, 0, "identity", "identity"),) * 2 + (Block(2, a, "conv_1x1", "identity"), Block(b, 3, *ops)))
        for a in (2, 3)
        for b in (2, 3, 4)
        for ops in (("identity", "conv_1x1"), ("conv_1x1", "conv_1x1"))
    ]
    for one, two in itertools.combinations(cells, 2):
        same = bool(forms(one) & forms(two))
        assert same == (one.fingerprint == two.fingerprint), f"{one}   {two}"


def test_shared_and_separate_blocks_differ():
    """Two equal blocks have weights of their own: reading one of them twice is another cell than reading both."""
    block = Block(0, 1, "conv_3x3", "conv_3x3")
    both = Cell((block, block, Block(2, 3, "conv_1x1", "conv_1x1")), (4,))
    twice = Cell((block, block, Block(2, 2, "conv_1x1", "conv_1x1")), (4,))
    assert both.fingerprint != twice.fingerprint and len(twice.canonical.blocks) == 2


def test_many_twins_are_numbered_at_once():
    cell = Cell((Block(0, 1, "conv_1x1", "conv_1x1"),) * 12)
    assert cell.canonical == cell


@pytest.mark.parametrize("tied", [8, 16])
def test_cells_of_many_equal_blocks_have_their_one_form_at_once(tied):
    """Equal blocks that other blocks tell apart: 8 of them took 20 s when every order was tried."""
    equal = (Block(0, 1, "identity", "identity"),) * tied
    chain = tuple(Block(2 + i, 3 + i, "identity", "conv_1x1") for i in range(tied - 1))
    ring = (*chain, Block(1 + tied, 2, "identity", "conv_1x1"))
    rng = np.random.default_rng(3)
    for cell in (Cell((*equal, *chain)), Cell((*equal, *ring))):
        assert {rewritten(cell, rng).canonical for _ in range(10)} == {cell.canonical}
        assert len(cell.canonical.blocks) == len(cell.blocks)
    assert Cell((*equal, *chain)).fingerprint != Cell((*equal, *ring)).fingerprint


def test_a_cell_has_at_most_32_blocks():
    block = Block(0, 1, "conv_1x1", "conv_1x1")
    assert len(Cell((block,) * 32).canonical.blocks) == 32
    with pytest.raises(UserError, match=r"Expected at most 32 blocks in a cell\. Received: 33"):
        Cell((block,) * 33)


def test_blocks_that_reach_no_output_do_not_count():
    dead = Block(0, 1, "max_pool_3x3", "identity")
    alive = Block(0, 0, "conv_3x3", "identity")
    cell = Cell((dead, alive, Block(2, 2, "identity", "identity")), output=(3,))
    assert cell.canonical == Cell((alive.renumbered({0: 0, 1: 1}),), output=(2,))
    assert cell.fingerprint == Cell((alive,), output=(2,)).fingerprint
    assert Cell((alive,), output=(2,)).fingerprint != Cell((alive,), output=(1, 2)).fingerprint


def test_nasnet_a_gives_a_state_that_is_read():
    # used_hiddenstates of NASNet's code: 1 0 0 0 0 0 0 and 1 1 1 0 0 0 0, where 0 marks what is concatenated.
    assert NASNET_A.normal.output == (1, 2, 3, 4, 5, 6) and NASNET_A.reduction.output == (3, 4, 5, 6)
    derived = Cell(NASNET_A.normal.blocks)
    assert derived.output == (2, 3, 4, 5, 6) and derived.fingerprint != NASNET_A.normal.fingerprint
    with pytest.raises(ValueError, match=r"concatenate the states that no block reads.*Received: output=\(1, 2, 3"):
        SPACE.encode(NASNET_A)


def test_one_line():
    assert str(Cell((Block(0, 1, "sep_conv_5x5", "identity"), Block(2, 0, "conv_1x1", "max_pool_3x3", "concat")))) == (
        "sep_conv_5x5(0)+identity(1) conv_1x1(2)|max_pool_3x3(0) -> 3"
    )
    assert str(NASNET_A).startswith("normal: sep_conv_5x5(0)+sep_conv_3x3(1) ") and "\n" not in str(NASNET_A)


def test_output_is_derived_where_json_has_none():
    value = NASNET_A.to_json()
    del value["normal"]["output"]
    value["reduction"]["output"] = None
    net = NASNet.from_json(value)
    assert net.normal.output == (2, 3, 4, 5, 6) and net.reduction.output == (4, 5, 6)


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda v: v["normal"]["blocks"][1].update(input2=4), r"block 2 to read states 0 to 2.*Received: state 4 in"),
        (lambda v: v["normal"]["blocks"][0].update(input1=-1), "input1 to be a whole number.*Received: input1=-1"),
        (lambda v: v["normal"]["blocks"][0].update(input1="0"), "Received: input1='0'"),
        (lambda v: v["normal"]["blocks"][0].update(op1="conv_9x9"), "op1 to be one of identity.*op1='conv_9x9'"),
        (lambda v: v["normal"]["blocks"][0].update(combine="mul"), "combine to be one of add, concat.*'mul'"),
        (lambda v: v["normal"]["blocks"][0].pop("op2"), "JSON of a block to have"),
        (lambda v: v["normal"].update(blocks=[]), "at least one block"),
        (lambda v: v["normal"].update(blocks="none"), "JSON of a cell to have blocks and output"),
        (lambda v: v["normal"].update(color=1), "JSON of a cell to have blocks and output"),
        (lambda v: v["normal"].update(output=[7]), r"states from 0 to 6.*Received: output=\(7,\)"),
        (lambda v: v["normal"].update(output=[2, 2]), r"each once.*Received: output=\(2, 2\)"),
        (lambda v: v["normal"].update(output=[0, 1]), r"a block's among them. Received: output=\(0, 1\)"),
        (lambda v: v["normal"].update(output=[]), r"a block's among them. Received: output=\(\)"),
        (lambda v: v["normal"].update(output=["2"]), "a state of output to be a whole number"),
        (lambda v: v["normal"].update(output=3), "output to be a list.*Received: output=3"),
        (lambda v: v.pop("reduction"), "two cells, normal and reduction"),
    ],
)
def test_what_is_no_cell_is_refused(change, words):
    value = NASNET_A.to_json()
    change(value)
    with pytest.raises(UserError, match=words):
        NASNet.from_json(value)


def test_encode_refuses_what_is_no_point_of_the_space():
    net = SPACE.decode((0,) * 50)
    fewer = dataclasses.replace(net, normal=Cell(net.normal.blocks[:1]))
    with pytest.raises(ValueError, match=r"have 5 blocks here. Received: 1"):
        SPACE.encode(fewer)
    small = NASNetSpace(operations=("conv_1x1",))
    with pytest.raises(ValueError, match=r"'normal/block1/op1' has the choices .*'conv_1x1'.*Received: 'identity'"):
        small.encode(net)


@pytest.mark.parametrize("output", [[None, None], ["2", 2], [{}, []], [2, None]])
def test_an_output_that_names_no_states_is_one_line(output):
    block = {"input1": 0, "input2": 0, "op1": "identity", "op2": "identity", "combine": "add"}
    with pytest.raises(UserError, match="a state of output"):
        Cell.from_json({"blocks": [block], "output": output})
