"""What TensorBoard reads of a run's event file."""

import math

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from nas_tf.search.board import Board
from nas_tf.space import Decision


def test_tensorboard_reads_it(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "front.png")
    board = Board(tmp_path / "events", (Decision("kernel_size", (3, 5)), Decision("depth", (1, 2, 3))))
    board.settings({"seed": 1, "reward": "soft", "sizes": (3, 4), "parent": None, "target_latency_ms": 2.5})
    for tokens in ((0, 0), (1, 0), (0, 0), (1, 0)):
        board.suggestion(tokens)
    board.scalars({"reward": 0.5, **board.entropies()}, 4)
    board.picture("the front", tmp_path / "front.png", 4)
    board.close()
    board.close()
    read = EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    name = "entropy of recent answers"
    expected = {"reward": 0.5, name: math.log(2) / 2, f"{name}/kernel_size": math.log(2), f"{name}/depth": 0.0}
    for tag, value in expected.items():
        (event,) = read.Tensors(tag)
        assert event.step == 4 and event.tensor_proto.float_val[0] == pytest.approx(value)
    (event,) = read.Tensors("the front")
    assert event.tensor_proto.string_val == [b"30", b"20", (tmp_path / "front.png").read_bytes()]
    content = read.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    found = metadata.parse_session_start_info_plugin_data(content).hparams
    assert found["seed"].number_value == 1 and found["target_latency_ms"].number_value == 2.5
    assert found["reward"].string_value == "soft" and found["sizes"].string_value == "(3, 4)" and "parent" not in found


def test_only_recent_answers_count(tmp_path):
    board = Board(tmp_path, (Decision("depth", (1, 2)),))
    assert board.entropies() == {}
    for tokens in [(0,)] * 30 + [(1,)] * 20:
        board.suggestion(tokens)
    assert set(board.entropies().values()) == {0.0}
    board.close()
