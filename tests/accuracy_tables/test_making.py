"""The making of an accuracy table: what it keeps, what it leaves out, what it refuses."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from accuracy_table_support import fine_tuned, images, parent_of, plan_of, space_of, task_of
from parent_support import DIGITS, heirs_task
from support import eagerly

from nas_tf.accuracy_tables import builder, jobs, prediction, repair
from nas_tf.accuracy_tables import library as one_library
from nas_tf.apps.table import AccuracyTableSettings, TableSettings, make_accuracy_table
from nas_tf.files import alone
from nas_tf.judges import blocks
from nas_tf.judges.blocks import BlocksJudge, Config
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor
from nas_tf.plugins import Part
from nas_tf.training.evaluate import traced
from nas_tf.trial import EvaluationError, UserError


@pytest.fixture(scope="module")
def table(accuracy_table):
    return AccuracyTable.read(accuracy_table)


def test_stops_lose_nothing_and_nothing_is_made_twice(table):
    """The table was made with a stop after every third result (`accuracy_table_support.py`)."""
    lines = [
        json.loads(line)
        for name in ("alternatives", "networks")
        for line in (table.folder / "width_1" / f"{name}.jsonl").read_text().splitlines()
    ]
    names = [(each.get("text"), each.get("kind"), each.get("number")) for each in lines]
    assert len(set(names)) == len(names) == 11 + 2 + 10 + 4  # 11 alternatives; the parent at two sizes


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


def test_others_test_what_is_fitted_and_then_it_is_fitted_on_all(table):
    library, space = table.libraries[0], space_of(table)
    parse = type(parent_of(table, space)).parse

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


def test_what_is_new_in_a_block_begins_alike_in_every_process(accuracy_table, table, parent, tmp_path, monkeypatch):
    """As if nothing were inherited: what a seed decides is then all of the block."""
    shutil.copytree(table.folder, tmp_path / "again.blocks")
    monkeypatch.setattr(jobs.inheritance, "inherit_block", lambda *args: None)
    plan, space = plan_of(*parent), space_of(table)
    block = next(each for each in space.block_choices(parent_of(table, space))[1])
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
def test_a_narrower_parent_gives_a_library_of_its_own(parent, tmp_path):
    plan, task = plan_of(*parent), task_of(*parent)
    space = task.space.space
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
        fine_tuned_one = fine_tuned(table, tables.library_name(library.width))
        assembled = tables.assemble(table, space, parent_of_width, task.proxy_scale)
        np.testing.assert_array_equal(*(traced(each)(x) for each in (assembled, fine_tuned_one)))
        trainer = trainers(library.width)  # the teacher of networks of this library
        assert trainer.parent.architecture == parent_of_width
        np.testing.assert_array_equal(*(traced(each)(x) for each in (trainer.read_parent(), fine_tuned_one)))


def test_images_are_those_of_the_table(table):
    dataset = DIGITS.make(16, 300)
    assert table.images == blocks.images_facts(dataset, DIGITS, 300) and table.images["digest"]


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
