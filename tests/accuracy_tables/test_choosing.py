"""The exact best networks, beside all networks of a small space."""

import dataclasses
import itertools

import numpy as np
import pytest

from mnas_tf.spaces.mnasnet import MnasNetSpace, Scale
from nas_tf.accuracy_tables.choosing import Chooser, skyband
from nas_tf.devices.table import Config, LatencyTable, TableEstimator
from nas_tf.networks.accuracy_table import AccuracyTable, Alternative, Library, Predictor
from nas_tf.reports import accuracy_table
from nas_tf.trial import UserError

SCALE = Scale(64, 10)
SPACE = MnasNetSpace(
    base="efficientnet_lite0",
    kernel_sizes=(3,),
    filter_factors=(1.0,),
    layer_changes=(-1, 0),
    image_sizes=(48,),
    around="r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r2_k3_s22_e6_i24_o40 r3_k3_s22_e6_i40_o80 "
    "r3_k3_s11_e6_i80_o112 r4_k3_s22_e6_i112_o192 r1_k3_s11_e6_i192_o320_noskip",
)
PARENT = SPACE._around


@pytest.fixture(scope="module")
def chooser(tmp_path_factory):
    """Both tables with random values, the same ones for one architecture."""
    rng = np.random.default_rng(0)
    choices = SPACE.block_choices(PARENT)
    blocks = tuple(
        {
            str(each): Alternative(*((0.0, 0.0, "own") if each == own else (0.1, rng.uniform(0, 0.2), "repaired")))
            for each in offered
        }
        for own, offered in zip(PARENT.blocks, choices)
    )
    library = Library(1.0, PARENT.to_json(), blocks, {64: 0.8, 48: 0.7}, (0.1, 0.2, 0.3, 0.1, 0.0, 0.2, 0.1), {})
    scale = {"image_size": 64, "num_classes": 10}
    accuracies = AccuracyTable(None, {}, {}, scale, scale, {}, {}, (library,))
    units = {unit.name: float(rng.uniform(0.01, 0.1)) for unit in SPACE.all_units(SCALE)}
    path = tmp_path_factory.mktemp("table") / "table.json"
    LatencyTable("mnasnet", SPACE.latency_scale(SCALE), {"device": "host"}, 0.0, units).write(path)
    return Chooser(Predictor(accuracies, SPACE), TableEstimator(Config(str(path)), SPACE, SCALE))


@pytest.fixture(scope="module")
def everything(chooser):
    """(latency in ms, accuracy, architecture) of every network of the space."""
    found = []
    for size in (None, 48):
        for blocks in itertools.product(*SPACE.block_choices(PARENT)):
            architecture = SPACE.assembled(PARENT, blocks, size)
            ms = chooser._device.estimate([architecture])[0]
            found.append((ms, chooser._predictor.accuracy(architecture), architecture))
    return found


def test_the_front_is_exact(chooser, everything):
    expected, most = [], -1.0
    for ms, reached, architecture in sorted(everything, key=lambda each: (each[0], -each[1])):
        if reached > most:
            expected.append((ms, reached, architecture))
            most = reached
    front = chooser.front()
    assert len(everything) == 2 * 1 * 4 * 4 * 4 * 4 * 4 * 2 and len(front) == len(expected) >= 10
    for found, (ms, reached, architecture) in zip(front, expected):
        assert (found.latency_ms, found.accuracy) == pytest.approx((ms, reached), rel=1e-9)
        assert found.architecture == architecture


@pytest.mark.parametrize("share", [0.7, 0.85])
def test_the_best_within_a_latency_are_exact(chooser, everything, share):
    target_ms = share * max(ms for ms, _, _ in everything)
    within = sorted((each for each in everything if each[0] <= target_ms), key=lambda each: (-each[1], each[0]))
    expected = []
    for _, _, architecture in within:
        if all(chooser._changes(_Named(architecture), _Named(other)) >= 2 for other in expected):
            expected.append(architecture)
        if len(expected) == 3:
            break
    found = chooser.best(target_ms, 3)
    assert found[0].architecture == expected[0]
    assert [each.accuracy for each in found] == pytest.approx(
        [chooser._predictor.accuracy(each) for each in expected], abs=1e-9
    )


class _Named:
    def __init__(self, architecture):
        self.architecture = architecture


def test_a_target_outside_both_tables_is_said(chooser):
    low = chooser.front()[0].latency_ms
    with pytest.raises(UserError, match=rf"Expected a target within both tables, {low:.3g} to .* ms. Received: 0.001"):
        chooser.best(0.001, 5)


def test_a_target_beyond_the_front_is_said(chooser):
    front = chooser.front()
    slowest = front[-1].latency_ms
    assert "beyond both tables" in accuracy_table.front_text(front, front[-1:], 2 * slowest)
    assert "beyond" not in accuracy_table.front_text(front, front[-1:], slowest)


def test_a_skyband_holds_what_few_others_beat():
    rng = np.random.default_rng(0)
    costs, losses = rng.integers(0, 20, 200).astype(float), rng.integers(0, 20, 200).astype(float)
    for count in (1, 3):
        kept = set(skyband(costs, losses, count).tolist())
        order = np.lexsort((losses, costs)).tolist()
        expected = {
            point
            for place, point in enumerate(order)
            if sum(losses[other] <= losses[point] for other in order[:place]) < count
        }
        assert kept == expected


def test_image_sizes_and_blocks_have_their_own_tokens():
    for size in (None, 48):
        for blocks in itertools.islice(itertools.product(*SPACE.block_choices(PARENT)), 0, 4000, 171):
            architecture = SPACE.assembled(PARENT, blocks, size)
            assert SPACE.decode(SPACE.encode(architecture)) == architecture
            assert type(architecture).parse(str(architecture)) == architecture
            assert type(architecture).from_json(architecture.to_json()) == architecture


def test_widths_have_their_own_tokens_and_units():
    wide = dataclasses.replace(SPACE, widths=(0.75,), filter_factors=(1.0, 1.25))
    narrow = wide.slimmed(PARENT, 0.75)
    assert [block.filters for block in narrow.blocks] == [16, 24, 32, 64, 88, 144, 240]
    for architecture in (PARENT, narrow, dataclasses.replace(narrow, image_size=48)):
        assert wide.decode(wide.encode(architecture)) == architecture
    rng = np.random.default_rng(0)
    units = {unit.name for unit in wide.all_units(SCALE)}
    for _ in range(20):
        architecture = wide.decode(tuple(int(rng.integers(count)) for count in wide.num_choices))
        assert wide.decode(wide.encode(architecture)) == architecture
        for group in wide.unit_groups(architecture, SCALE):
            assert units >= {unit.name for unit in wide.units(group, SCALE)}
