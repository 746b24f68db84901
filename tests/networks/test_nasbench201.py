"""NAS-Bench-201: which cells are the same network, what they are as Keras models, and the table of all."""

import itertools
import json
import types

import numpy as np
import pytest
from tabular_support import write_cell_table

from nas_tf.complexity import num_params
from nas_tf.devices.tabular import TabularEstimator
from nas_tf.plugins import Part
from nas_tf.rewards import Objective
from nas_tf.trial import UserError
from nasnet_tf.search import Settings, search
from nasnet_tf.spaces.nasbench201 import EDGES, OPERATIONS, SPACE, Cell, NASBench201, Scale

# Parameters, in millions, of the authors' networks (NATS-Bench, arXiv 2009.00437), of cells in which every edge counts.
PUBLISHED = {
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|": 0.129306,
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|": 0.802426,
    "|avg_pool_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|": 0.559386,
    "|skip_connect~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|skip_connect~1|nor_conv_1x1~2|": 0.129306,
}
THEIRS = Scale(32, 10, cells=5, filters=16, stem="cifar")
SMALL = Scale(8, 3, cells=1, filters=4, stem="cifar")


def cell(operations):
    """A cell, its operations in the order of EDGES: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
    short = {"0": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3"}
    return Cell(tuple(short[each] for each in operations))


def canonical(value):
    return SPACE.decode(SPACE.encode(value))


@pytest.mark.parametrize("text", PUBLISHED)
def test_networks_have_the_published_parameters(text):
    architecture = Cell.parse(text)
    assert str(architecture) == text
    assert num_params(SPACE.build(architecture, THEIRS)) == round(1e6 * PUBLISHED[text])


@pytest.mark.parametrize(
    "one,other",
    [
        ("300000", "000000"),  # node 1 leads nowhere
        ("003003", "000000"),  # nothing reaches node 1
        ("s00010", "000100"),  # a copy of the input is the input
        ("s00030", "000300"),
        ("300010", "030001"),  # nodes have no names
        ("310013", "130031"),
        ("300s30", "030s03"),
        ("30s003", "300030"),  # node 2 copies node 1
        ("3000s0", "000300"),  # node 1 is copied once
    ],
)
def test_cells_that_compute_the_same_are_one_network(one, other):
    assert canonical(cell(one)) == canonical(cell(other))


@pytest.mark.parametrize(
    "one,other",
    [
        ("300030", "300s30"),
        ("330011", "3000s0"),
        ("33s0s1", "3300s1"),
        ("300ss0", "000300"),  # a sum with the input
        ("30s0s3", "330s03"),  # one convolution that two edges read, or two
    ],
)
def test_cells_that_do_not_are_not(one, other):
    assert canonical(cell(one)) != canonical(cell(other))


def test_there_are_5425_networks_and_each_stands_for_itself():
    every = [Cell(ops) for ops in itertools.product(OPERATIONS, repeat=len(EDGES))]
    found = {canonical(each) for each in every}
    assert len(every) == 15_625 and len(found) == 5_425
    assert all(canonical(each) == each for each in found)


def test_one_network_gives_the_same_whichever_cell_it_is_built_of():
    """Weights are drawn in the order of layers, so that those of equal shapes are set alike first."""
    for one, other in (("300010", "030001"), ("30s003", "300030"), ("3000s0", "000300")):
        first, second = (SPACE.build(cell(each), SMALL) for each in (one, other))
        rng = np.random.default_rng(0)
        values = [rng.normal(size=w.shape) for w in first.get_weights()]
        assert sorted(w.shape for w in first.get_weights()) == sorted(w.shape for w in second.get_weights())
        first.set_weights(values)
        second.set_weights(values)
        images = rng.uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
        np.testing.assert_allclose(first(images), second(images), rtol=1e-5)


def test_a_cell_without_a_way_through_gives_all_images_alike():
    model = SPACE.build(cell("300000"), SMALL)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    probabilities = np.asarray(model(images))
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=1e-6)


def test_judge_and_device_read_the_table(cell_table):
    space = NASBench201(table=str(cell_table))
    device = Part("nas_tf.devices", "tabular").make(space, None)
    device.check()
    every_conv = space.decode((3,) * 6)
    assert device.estimate([every_conv]) == [18.5]
    assert device.describe()["field"] == "phone_ms"


def test_noise_has_the_size_that_is_asked_for_and_is_the_same_each_time(cell_table):
    from nas_tf.judges.tabular import Config, TabularJudge

    space = NASBench201(table=str(cell_table))
    exact, noisy = TabularJudge(Config(), space, 0), TabularJudge(Config(noise_percent=1.0), space, 0)
    tokens = [tuple(row) for row in np.random.default_rng(0).integers(5, size=(400, 6)).tolist()]
    differences = [noisy.accuracy(each).accuracy - exact.accuracy(each).accuracy for each in tokens]
    assert np.std(differences) == pytest.approx(0.01, rel=0.15) and abs(np.mean(differences)) < 0.002
    assert noisy.accuracy(tokens[0]) == noisy.accuracy(tokens[0])
    assert noisy.accuracy(tokens[0], repeat=1).accuracy != noisy.accuracy(tokens[0]).accuracy
    assert noisy.accuracy(tokens[0]).standard_error == pytest.approx(0.01)


def test_a_run_goes_on_with_its_table_wherever_that_lies_and_with_no_other(cell_table, tmp_path):
    content = json.loads(cell_table.read_text())
    moved, other = tmp_path / "moved.json", tmp_path / "other.json"
    moved.write_text(cell_table.read_text())
    content["rows"][-1][1] += 0.5
    other.write_text(json.dumps(content))

    def searched(path, num_trials):
        names = dict(search_space="nasbench201", judge="tabular", device="tabular", algorithm="random_search")
        settings = Settings(run_dir=str(tmp_path / "run"), num_trials=num_trials, final_epochs=0, **names)
        objective = Objective(target_latency_ms=10.0)
        return search(settings, objective, parts={"nasbench201": {"table": str(path)}}, say=lambda line: None)

    assert len(searched(cell_table, 1).trials) == 1
    assert len(searched(moved, 2).trials) == 2
    with pytest.raises(UserError, match=r"was begun with other settings: device table=.* judge table="):
        searched(other, 3)


def test_bad_tables_are_refused_in_one_line(tmp_path, plain_space):
    from nas_tf.judges.tabular import Config, TabularJudge

    def check(path):
        TabularJudge(Config(), NASBench201(table=str(path)), 0).check()

    with pytest.raises(UserError, match=r"Expected --nasbench201_table=FILE.*Received: none"):
        check("")
    with pytest.raises(UserError, match="Expected --nasbench201_table to be a file"):
        check(tmp_path / "missing.json")
    (tmp_path / "text.json").write_text("no table")
    with pytest.raises(UserError, match="to hold fields, the first of them architecture"):
        check(tmp_path / "text.json")
    with pytest.raises(UserError, match=r"to know all 15,625 cells\. It lacks 1,"):
        check(write_cell_table(tmp_path / "short.json", without=[("none",) * 6]))
    whole = json.loads(write_cell_table(tmp_path / "whole.json").read_text())
    for change, words in (
        ({"rows": [["|none~0|", 1, 1, 1]]}, "is no table of NAS-Bench-201"),
        ({"rows": [[row[0], float("nan"), *row[2:]] for row in whole["rows"]]}, "no finite number"),
        ({"fields": ["architecture", "one", "two", "phone_ms"]}, r"one field of accuracies, \*_percent"),
        ({"rows": whole["rows"] * 2}, "listed twice"),
    ):
        (tmp_path / "other.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=words):
            check(tmp_path / "other.json")
    with pytest.raises(UserError, match="needs a search space with a table of all its networks"):
        TabularJudge(Config(), Part("mnas_tf.spaces", str(plain_space)).space, 0).check()
    # One's own space that does not say of which table what it knows is, so that another could not be told apart.
    with pytest.raises(UserError, match=r"--device=tabular needs a search space with a table.*--search_space=mine"):
        TabularEstimator(types.SimpleNamespace(name="mine", known=dict)).check()
