"""An accuracy table: what it is made of, what it says, what it refuses."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from accuracy_table_support import SIZES, plan_of
from parent_support import DIGITS, TOKENS, heirs_task
from support import eagerly

from mnas_tf.family import FAMILY, MnasNetSearchSettings
from nas_tf.accuracy_tables import builder, jobs, prediction, repair
from nas_tf.accuracy_tables import library as one_library
from nas_tf.algorithms import listed
from nas_tf.apps.table import AccuracyTableSettings, TableSettings, choose, make_accuracy_table
from nas_tf.devices.table import LatencyTable
from nas_tf.files import alone
from nas_tf.judges import blocks
from nas_tf.judges.blocks import BlocksJudge, Config
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks._units import Network
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor
from nas_tf.networks.folder import read_description, read_keras
from nas_tf.plugins import Part
from nas_tf.rewards import Objective
from nas_tf.search.run import search
from nas_tf.training.evaluate import traced
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError


@pytest.fixture(scope="module")
def table(accuracy_table):
    return AccuracyTable.read(accuracy_table)


@pytest.fixture(scope="module")
def space(table):
    return Part(**{**table.space, "settings": {"image_sizes": SIZES}}).space


@pytest.fixture(scope="module")
def task(parent):
    task = heirs_task(*parent, samples=300)
    return dataclasses.replace(task, space=dataclasses.replace(task.space, settings={"image_sizes": SIZES}))


def parent_of(table, space):
    return space.architecture(table.libraries[0].architecture)


def fine_tuned(table):
    return read_keras(table.folder / "width_1" / "parent" / "parent.keras")


def images(count=20):
    return np.random.default_rng(0).uniform(-1, 1, (count, 16, 16, 3)).astype("float32")


def test_stops_lose_nothing_and_nothing_is_made_twice(table, space):
    """The table was made with a stop after every third result (`accuracy_table_support.py`)."""
    lines = [
        json.loads(line)
        for name in ("alternatives", "networks")
        for line in (table.folder / "width_1" / f"{name}.jsonl").read_text().splitlines()
    ]
    names = [(each.get("text"), each.get("kind"), each.get("number")) for each in lines]
    assert len(set(names)) == len(names) == 11 + 2 + 10 + 4  # 11 alternatives; the parent at two sizes


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


def test_losses_are_those_of_the_kept_weights_and_the_better_ones_are_kept(table):
    lines = (table.folder / "width_1" / "alternatives.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        kept = line["both"][line["kept"]]
        assert kept["divergence"] == min(each["divergence"] for each in line["both"].values())
        found = table.libraries[0].blocks[1][line["text"]]
        assert (found.loss, found.divergence, found.kept) == (kept["loss"], kept["divergence"], line["kept"])


def test_the_loss_of_a_block_against_itself_is_0():
    outputs = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("float16")
    maps = repair.Maps.of(outputs, outputs, 4)
    assert repair.loss(outputs[-4:].astype("float32"), maps) == 0
    # A map that is off by one deviation in every channel has a loss of 1; the mean of each channel has about 1, too.
    assert repair.loss(maps.tested[1] + maps.deviation, maps) == pytest.approx(1, rel=1e-5)


def test_predictions_add_up_over_blocks(table, space):
    library, predictor = table.libraries[0], Predictor(table, space)
    own = parent_of(table, space)
    for text, alternative in library.blocks[1].items():
        for size in (None, *SIZES):
            architecture = space.assembled(own, [own.blocks[0], type(own.blocks[1]).parse(text)], size)
            expected = library.sizes[size or 16] - library.weights[1] * tables.damage(alternative)
            assert predictor.accuracy(architecture) == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)


def test_others_test_what_is_fitted_and_then_it_is_fitted_on_all(table, space):
    library, parse = table.libraries[0], type(parent_of(table, space)).parse

    def table_of(rows):
        networks = [parse(each["architecture"]) for each in rows]
        damages = [
            [tables.damage(known[str(block)]) for block, known in zip(space.blocks(each), library.blocks)]
            for each in networks
        ]
        return [space.image_size(each) or 16 for each in networks], damages, [each["accuracy"] for each in rows]

    fitted, tested = library.facts["fitted"], library.facts["validation"]["networks"]
    on_all = prediction.fit(*table_of(fitted + tested))
    assert (on_all.sizes, on_all.weights) == (library.sizes, library.weights)
    predicted = prediction.fit(*table_of(fitted)).predict(*table_of(tested)[:2])
    assert [each["predicted"] for each in tested] == list(predicted)
    assert list(on_all.predict(*table_of(tested)[:2])) != list(predicted)


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


def test_what_is_new_in_a_block_begins_alike_in_every_process(
    accuracy_table, table, parent, space, tmp_path, monkeypatch
):
    """As if nothing were inherited: what a seed decides is then all of the block."""
    shutil.copytree(table.folder, tmp_path / "again.blocks")
    monkeypatch.setattr(jobs.inheritance, "inherit_block", lambda *args: None)
    plan, block = plan_of(*parent), next(each for each in space.block_choices(parent_of(table, space))[1])
    found = [jobs.repair_group(plan, tmp_path / "again.blocks", 1.0, 2, [block]) for _ in range(2)]
    assert found[0] == found[1]


def test_figures_are_of_the_networks_that_were_trained(accuracy_table, table, parent, tmp_path):
    """Other alternatives draw other networks: what is known of the former ones is not said of these."""
    shutil.copytree(table.folder, tmp_path / "table.blocks")
    path = tmp_path / "table.blocks" / "width_1" / "networks.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["text"] = lines[-2]["text"]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    with eagerly(), pytest.raises(UserError, match="other blocks were repaired"):
        builder.build(plan_of(*parent), tmp_path / "table.json", say=lambda line: None)


def test_one_program_makes_a_table(table, parent, tmp_path):
    (tmp_path / "table.blocks").mkdir()
    with alone(tmp_path / "table.blocks"), pytest.raises(UserError, match="in use by another making"):
        builder.build(plan_of(*parent), tmp_path / "table.json", say=lambda line: None)


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


def test_a_making_that_cannot_begin_is_one_line(parent, tmp_path):
    plan = plan_of(*parent)
    for changes, words in (
        ({"num_samples": 30}, "Expected at least 200 training images"),
        ({"parent": str(tmp_path)}, "no architecture.json"),
        ({"space": Part("mnas_tf.spaces", "proxylessnas")}, "cannot begin with the weights of a parent"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            builder.build(dataclasses.replace(plan, **changes), tmp_path / "table.json")
        assert "\n" not in str(caught.value)
    folder = tmp_path / "other.blocks"
    folder.mkdir()
    (folder / "asked.json").write_text(json.dumps({"parent": "another"}))
    with pytest.raises(UserError, match="was begun with other settings"):
        builder.build(plan, tmp_path / "other.json")


def test_blocks_that_all_diverged_are_left_out_and_said(parent, tmp_path):
    plan, said = plan_of(*parent), []
    making = one_library.Making(plan, tmp_path, 1.0, None, said.append)
    choices = plan.space.space.block_choices(making._parent)
    own = str(making._parent.blocks[1])
    for each in choices[1]:
        if str(each) != own:
            making._keep([{"block": 2, "text": str(each), "failure": "it diverged"}])
    found = making._found(choices)
    assert [list(each) for each in found] == [[str(making._parent.blocks[0])], [own]]
    assert "block 2 stays the parent's" in said[0] and said[1].startswith("11 blocks left out")
    with pytest.raises(UserError, match="only 2 different networks"):
        one_library.draw_networks(plan.space.space, making._parent, found, plan)


def test_a_network_that_diverged_is_left_out_and_said(accuracy_table, table, parent, tmp_path):
    path, said = tmp_path / "table.json", []
    shutil.copytree(tables.folder_of(accuracy_table), tables.folder_of(path))
    lines = tables.folder_of(path) / "width_1" / "networks.jsonl"
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    lost = next(each for each in found if each["kind"] == "tested")
    lost.update(failure="its loss is not finite")

    def write():
        lines.write_text("".join(json.dumps(each) + "\n" for each in found))

    write()
    made = builder.build(plan_of(*parent), path, said.append)
    known, found_again = (each.libraries[0].facts["validation"]["networks"] for each in (table, made))
    assert [each for each in known if each["number"] != lost["number"]] == found_again
    assert said == ["1 network left out: its loss is not finite"]
    for each in found:
        each["failure"] = "its loss is not finite"
    write()
    with pytest.raises(EvaluationError, match="of the networks that are fitted only 0 could be trained; expected 8"):
        builder.build(plan_of(*parent), path, said.append)


@pytest.mark.storm
def test_a_narrower_parent_gives_a_library_of_its_own(parent, task, tmp_path):
    plan, space = plan_of(*parent), task.space.space
    thoroughness = dataclasses.replace(plan.thoroughness, widths=(1.0, 0.5))
    path = tmp_path / "table.json"
    with eagerly():
        table = builder.build(dataclasses.replace(plan, thoroughness=thoroughness), path, lambda line: None)
    assert [each.width for each in table.libraries] == [1.0, 0.5]
    own, narrow = (space.architecture(each.architecture) for each in table.libraries)
    assert [block.filters for block in own.blocks] == [8, 12] and [block.filters for block in narrow.blocks] == [8, 8]
    predictor = Predictor(table, space)
    trainers, x = BlocksJudge(Config(str(path), "trained"), task)._trainers, images()
    for parent_of_width, library in zip((own, narrow), table.libraries):
        for block in space.block_choices(parent_of_width)[1]:
            network = space.assembled(parent_of_width, [parent_of_width.blocks[0], block])
            assert predictor.library(network) is library
            expected = library.sizes[16] - library.weights[1] * tables.damage(library.blocks[1][str(block)])
            assert predictor.accuracy(network) == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)
        fine_tuned_one = read_keras(table.folder / tables.library_name(library.width) / "parent" / "parent.keras")
        assembled = tables.assemble(table, space, parent_of_width, task.proxy_scale)
        np.testing.assert_array_equal(*(traced(each)(x) for each in (assembled, fine_tuned_one)))
        trainer = trainers(library.width)  # the teacher of networks of this library
        assert trainer.parent.architecture == parent_of_width
        np.testing.assert_array_equal(*(traced(each)(x) for each in (trainer.read_parent(), fine_tuned_one)))


def test_images_are_those_of_the_table(table):
    dataset = DIGITS.make(16, 300)
    assert table.images == blocks.images_facts(dataset, DIGITS, 300) and table.images["digest"]


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


def test_commands_say_what_they_need(tmp_path):
    out = str(tmp_path / "table.json")
    for settings, words in (
        ({"best": True}, "--best needs --accuracy_table"),
        ({"best": True, "accuracy_table": "a.json"}, "--best needs --latency_table"),
        ({"best": True, "check": "a.json"}, "leave --check"),
        ({"best": True, "of": "accuracy"}, "leave --check"),
        ({"out": "table"}, r"Expected --out, a file that ends in \.json"),
    ):
        with pytest.raises(UserError, match=words):
            TableSettings(**{"out": out, **settings})
    with pytest.raises(UserError, match="--of=accuracy needs --parent"):
        make_accuracy_table(TableSettings(of="accuracy", out=out), AccuracyTableSettings(), None, None)
    for widths in ((0.5,), (1.0, 1.0), (1.0, 0.0), (1.0, float("nan")), (1.0, float("inf")), (1.0, 1.0000001)):
        with pytest.raises(UserError, match="and 1 among them"):
            AccuracyTableSettings(widths=widths)


@pytest.mark.storm
def test_kills_at_any_result(parent, tmp_path):
    """kill -9 after every third result: the table is the one of a making that nobody stopped."""
    command = [
        str(Path(sys.executable).parent / "nas-table"),
        "--of=accuracy",
        f"--search_space={heirs_task(*parent).space.name}",
        f"--parent={parent[0]}",
        "--dataset=digits",
        "--deploy_image_size=16",
        "--proxy_samples=300",
        "--seed=1",
        "--parent_epochs=1",
        "--repair_steps=10",
        "--num_fitted=10",
        "--num_tested=4",
    ]
    subprocess.run([*command, f"--out={tmp_path / 'whole.json'}"], check=True, capture_output=True)
    kills, folder = 0, tmp_path / "killed.blocks" / "width_1"
    while True:
        before = _num_lines(folder)
        running = subprocess.Popen([*command, f"--out={tmp_path / 'killed.json'}"], stderr=subprocess.DEVNULL)
        while running.poll() is None and _num_lines(folder) < before + 3:
            time.sleep(0.05)
        if running.poll() is not None:
            break
        running.kill()
        running.wait()
        kills += 1
    assert running.returncode == 0 and kills >= 5
    whole, killed = (
        json.loads((tmp_path / f"{name}.json").read_text())["libraries"][0] for name in ("whole", "killed")
    )
    assert whole["blocks"] == killed["blocks"]
    for name in ("sizes", "weights"):
        assert whole[name] == pytest.approx(killed[name])


def _num_lines(folder):
    return sum(len(path.read_text().splitlines()) for path in folder.glob("*.jsonl"))
