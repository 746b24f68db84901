"""An accuracy table as a judge: the networks that are assembled, what is said of them, what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from accuracy_table_support import SIZES, fine_tuned, images, parent_of, space_of, task_of
from parent_support import DIGITS, TOKENS
from support import eagerly

from mnas_tf.family import FAMILY, MnasNetSearchSettings
from nas_tf.algorithms import listed
from nas_tf.apps.table import TableSettings, choose
from nas_tf.devices.table import LatencyTable
from nas_tf.judges.blocks import BlocksJudge, Config
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks._units import Network
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor
from nas_tf.networks.folder import read_description, read_keras
from nas_tf.rewards import Objective
from nas_tf.search.run import search
from nas_tf.training.evaluate import traced
from nas_tf.trial import InfeasibleArchitecture, UserError


@pytest.fixture(scope="module")
def table(accuracy_table):
    return AccuracyTable.read(accuracy_table)


@pytest.fixture(scope="module")
def space(table):
    return space_of(table)


@pytest.fixture(scope="module")
def task(parent):
    return task_of(*parent)


def test_the_parents_own_blocks_are_the_parent_bitwise(table, space, task):
    own = parent_of(table, space)
    network = tables.assemble(table, space, own, task.proxy_scale)
    np.testing.assert_array_equal(*(traced(each)(images()) for each in (network, fine_tuned(table))))
    assert table.libraries[0].blocks[1][str(own.blocks[1])].loss == 0


def test_a_network_gives_block_by_block_what_the_library_says(table, space, task):
    """Up to a block that is repaired, an assembled network's maps are the parent's; behind it they are the block's."""
    own, x = parent_of(table, space), images()
    import keras

    model = fine_tuned(table)
    units = Network(model).units
    before = keras.Model(model.inputs[0], units["block1_layer1"].output)
    for text, alternative in table.libraries[0].blocks[1].items():
        architecture = space.assembled(own, [own.blocks[0], type(own.blocks[1]).parse(text)])
        network = tables.assemble(table, space, architecture, task.proxy_scale)
        theirs = Network(network).units
        last = [name for name in theirs if name.startswith("block2_")][-1]
        maps = keras.Model(network.inputs[0], [theirs["block1_layer1"].output, theirs[last].output])
        at_border, behind = (np.asarray(each) for each in maps(x, training=False))
        np.testing.assert_array_equal(at_border, np.asarray(before(x, training=False)))
        block = space.build_block(architecture, 2, task.proxy_scale)
        if alternative.file:
            values = tables.read_block(table.folder / "width_1" / alternative.file)
            for layer in block.layers:
                if layer.weights:
                    layer.set_weights(values[layer.name])
            np.testing.assert_allclose(np.asarray(block(at_border, training=False)), behind, atol=1e-5)


def test_predictions_add_up_over_blocks(table, space):
    library, predictor = table.libraries[0], Predictor(table, space)
    own = parent_of(table, space)
    for text, alternative in library.blocks[1].items():
        for size in (None, *SIZES):
            architecture = space.assembled(own, [own.blocks[0], type(own.blocks[1]).parse(text)], size)
            expected = library.sizes[size or 16] - library.weights[1] * tables.damage(alternative)
            assert predictor.accuracy(architecture) == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)


def test_the_judge_predicts_evaluates_and_trains(accuracy_table, task, tmp_path):
    found = {}
    for accuracy in ("predicted", "evaluated", "trained"):
        judge = BlocksJudge(Config(str(accuracy_table), accuracy), task)
        judge.check()
        judge.prepare(tmp_path)
        found[accuracy] = judge.accuracy((*TOKENS, 0))
        assert judge.describe()["accuracy"] == accuracy
    assert found["predicted"].accuracy == pytest.approx(judge._predictor.table.libraries[0].sizes[16])
    parent = json.loads((tmp_path / "parent.json").read_text())
    assert abs(found["evaluated"].accuracy - parent["accuracy"]) < 4 * parent["standard_error"]
    assert found["trained"].standard_error > 0 and found["trained"].planned_steps == 300 // 64 + 1
    start = judge.start(task.space.space.decode((*TOKENS, 0)))
    model = task.space.space.build(task.space.space.decode((*TOKENS, 0)), task.deploy_scale)
    assert "no block repaired" in start(model)


def test_what_a_table_is_not_of_is_one_line(accuracy_table, table, task, parent, tmp_path):
    def check(table_path=accuracy_table, **changes):
        with pytest.raises(UserError) as caught:
            BlocksJudge(Config(str(table_path)), dataclasses.replace(task, **changes)).check()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "needs --parent" in check(parent="")
    other = tmp_path / "net"
    shutil.copytree(parent[0], other)
    weights = read_keras(other / "model.keras")
    weights.set_weights([each + 1 for each in weights.get_weights()])
    weights.save(other / "model.keras")
    assert "is of the parent net" in check(parent=str(other))
    assert "--seed" in check(images=dataclasses.replace(DIGITS, seed=2))
    assert "--proxy_image_size=16" in check(proxy_scale=dataclasses.replace(task.proxy_scale, image_size=8))
    none = dataclasses.replace(task.space, settings={"kernel_sizes": (9,)})
    assert "has no network of search space" in check(space=none)
    assert "Expected an accuracy table" in check(tmp_path / "none.json")
    (tmp_path / "damaged.json").write_text("{}")
    lacking = check(tmp_path / "damaged.json")
    assert "which lacks" in lacking and lacking.count("Expected") == 1
    value = json.loads(accuracy_table.read_text())
    (tmp_path / "later.json").write_text(json.dumps({**value, "version": 9}))
    assert "of version 9" in check(tmp_path / "later.json")
    images = {**value["images"], "class_names": ["cat", "dog"]}
    (tmp_path / "classes.json").write_text(json.dumps({**value, "images": images}))
    assert "Expected the classes of" in check(tmp_path / "classes.json")
    images = {**value["images"], "splits": "drawn with seed 1: validation (0.5)"}
    (tmp_path / "splits.json").write_text(json.dumps({**value, "images": images}))
    assert "Expected the splits" in check(tmp_path / "splits.json")
    images = {**value["images"], "augmentation": "shift_flip"}
    (tmp_path / "views.json").write_text(json.dumps({**value, "images": images}))
    assert "Expected the augmentation" in check(tmp_path / "views.json")


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value["libraries"][0]["weights"].pop(),
        lambda value: value["libraries"][0]["blocks"].pop(),
        lambda value: value["libraries"][0].update(weights=[-1.0, 0.0]),
        lambda value: value["libraries"][0]["sizes"].update({"16": 7.0}),
        lambda value: value["libraries"][0]["blocks"][1].update(
            no={"loss": 0, "divergence": 0, "kept": "", "file": "../a"}
        ),
        lambda value: value.update(libraries=[]),
        lambda value: value.update(deploy_scale=[]),
        lambda value: value.update(parent={}),
    ],
)
def test_a_table_that_was_edited_is_refused(accuracy_table, tmp_path, edit):
    value = json.loads(accuracy_table.read_text())
    edit(value)
    (tmp_path / "edited.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="Expected an accuracy table"):
        AccuracyTable.read(tmp_path / "edited.json")


def test_weights_of_another_block_are_refused(accuracy_table, table, space, task, tmp_path):
    shutil.copytree(table.folder, tmp_path / "mixed.blocks")
    shutil.copy(accuracy_table, tmp_path / "mixed.json")
    mixed, own = AccuracyTable.read(tmp_path / "mixed.json"), parent_of(table, space)
    files = {text: each.file for text, each in table.libraries[0].blocks[1].items() if each.file}
    one, *_, other = files
    shutil.copy(table.folder / "width_1" / files[other], mixed.folder / "width_1" / files[one])
    architecture = space.assembled(own, [own.blocks[0], type(own.blocks[1]).parse(one)])
    with pytest.raises(UserError, match="those of another block"):
        tables.assemble(mixed, space, architecture, task.proxy_scale)
    np.save(mixed.folder / "width_1" / "plain.npy", np.zeros(3))
    (mixed.folder / "width_1" / "plain.npy").rename(mixed.folder / "width_1" / files[one])
    with pytest.raises(UserError, match="Expected the weights of a block"):
        tables.assemble(mixed, space, architecture, task.proxy_scale)


def test_a_block_that_is_not_there_is_infeasible_and_its_file_is_asked_for(accuracy_table, task, tmp_path):
    value = json.loads(accuracy_table.read_text())
    text = next(name for name, each in value["libraries"][0]["blocks"][1].items() if each["file"])
    tokens = next(tokens for tokens in np.ndindex(3, 2, 2, 1) if str(task.space.space.decode(tokens).blocks[1]) == text)
    shutil.copy(accuracy_table, tmp_path / "table.json")
    judge = BlocksJudge(Config(str(tmp_path / "table.json"), "evaluated"), task)
    with pytest.raises(UserError, match="Expected the parent of"):
        judge.prepare(tmp_path / "judge")
    shutil.copytree(tables.folder_of(accuracy_table), tmp_path / "table.blocks")
    (tmp_path / "table.blocks" / "width_1" / value["libraries"][0]["blocks"][1][text]["file"]).write_bytes(b"PK")
    with pytest.raises(UserError, match="Expected the weights of a block in"):
        judge.accuracy(tokens)
    del value["libraries"][0]["blocks"][1][text]
    (tmp_path / "table.json").write_text(json.dumps(value))
    with pytest.raises(InfeasibleArchitecture, match=f"it has no {text}"):
        BlocksJudge(Config(str(tmp_path / "table.json")), task).accuracy(tokens)


def test_the_best_of_both_tables_are_searched_and_begin_with_repaired_blocks(
    accuracy_table, table, task, parent, tmp_path
):
    """As a user does it: the best networks are chosen, measured by a search that tries nothing else, and the best of
    them is trained from its repaired blocks."""
    space = task.space.space
    units = {unit.name: 0.01 * number for number, unit in enumerate(space.all_units(task.deploy_scale), 1)}
    latencies = tmp_path / "latencies.json"
    LatencyTable(space.name, space.latency_scale(task.deploy_scale), {"device": "host"}, 0.0, units).write(latencies)
    asked = {"accuracy_table": str(accuracy_table), "latency_table": str(latencies), "search_space": task.space.name}
    said = []
    best = choose(TableSettings(best=True, out=str(tmp_path / "best.json"), top_k=3, **asked), said.append)
    assert "the exact front has" in said[0]
    for name in ("best.csv", "best.png"):
        assert (tmp_path / name).stat().st_size > 0
    settings = MnasNetSearchSettings(
        run_dir=str(tmp_path / "run"),
        dataset="digits",
        search_space=task.space.name,
        algorithm="listed",
        judge="blocks",
        device="table",
        parent=task.parent,
        num_trials=len(best),
        seed=1,
        race_fraction=0.0,
        workers="inline",
        proxy_image_size=16,
        proxy_samples=300,
        deploy_image_size=16,
        final_epochs=1,
    )
    parts = {
        "listed": {"file": str(tmp_path / "best.json")},
        "blocks": {"table": str(accuracy_table)},
        "table": {"file": str(latencies)},
    }
    with eagerly():
        result = search(FAMILY, settings, Objective(target_latency_ms=1e3), parts=parts, say=said.append)
    assert [trial.tokens for trial in result.trials] == [space.encode(each.architecture) for each in best]
    for trial, each in zip(result.trials, best):
        assert trial.measurement.accuracy == pytest.approx(each.accuracy)
        assert trial.measurement.cost.latency.latency_ms == pytest.approx(each.latency_ms)
    network = read_description(tmp_path / "run" / "best")
    assert "repaired" in network.weights and network.scale["image_size"] == (best[0].architecture.image_size or 16)


def test_a_list_of_networks_is_looked_at(tmp_path):
    path = tmp_path / "best.json"
    for content, words in (
        ("[]", "a file that lists networks"),
        ('{"tokens": [[0, 9]]}', "another search space"),
        ('{"tokens": []}', "lists no network"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=words):
            listed.make(listed.Config(str(path)), (2, 2), 0)
