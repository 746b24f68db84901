"""JSON from anybody is read within bounds, or refused in a line; what is written can be read again."""

import os
import time
import tracemalloc

import pytest
from support import peak_mb

from nas_tf import files


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 65 + "]" * 65, "nested too deeply. Expected at most 64 levels"),
        ("[" * 200_000 + "]" * 200_000, "nested too deeply. Expected at most 64 levels"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested too deeply. Expected at most 64 levels"),
        ('{"a": 1234567890123456789}', "a whole number of 19 characters. Expected at most 18 digits"),
        (f"[{'9' * 5_000}]", "a whole number of 5,000 characters. Expected at most 18 digits"),
        ("[NaN]", "it holds NaN. Expected finite numbers"),
        ("[-Infinity]", "it holds -Infinity. Expected finite numbers"),
        ("[1e999]", "it holds 1e999. Expected finite numbers"),
        (r'["\ud800"]', "surrogates not allowed"),
        (" " * (2 * 2**20) + "1", "it is 2,097,153 long. Expected at most 2,097,152"),
        (b"\xff\xfe\xff", "decode"),
        ("", "Expecting value"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_json_beyond_the_bounds_is_refused(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        files.parse_json(text)
    assert len(str(caught.value)) < 200


def test_json_within_the_bounds_is_read():
    assert files.parse_json("[" * 64 + "]" * 64) is not None
    assert files.parse_json('{"a": [123456789012345678, -0.5, null, "\\ud83d\\ude00", "\\\\ud800"]}') == {
        "a": [123456789012345678, -0.5, None, "\N{GRINNING FACE}", "\\ud800"]
    }
    assert files.parse_json('"é"'.encode()) == "é"


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.json"
    with open(path, "wb") as file:
        file.truncate(10**9)  # sparse
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"it has 1,000,000,000 bytes\. Expected at most 2,097,152"):
        files.load_json(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert files.read_json(path) is None


@pytest.mark.parametrize("unit", ["{}", "[]", "[[[[]]]]", '{"":0}', "0.5"])
def test_the_longest_json_takes_little_memory_and_time(unit):
    text = f"[{','.join([unit] * ((2 * 2**20 - 2) // (len(unit) + 1)))}]"
    seconds, held_mb = [], peak_mb(anew=True)
    for _ in range(3):  # the machine's neighbours may slow one of them
        begin = time.process_time()
        assert len(files.parse_json(text)) > 100_000
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 1 and peak_mb() - held_mb < 500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="it is no regular file"):
        files.load_json(tmp_path / "pipe.json")
    assert files.read_json(tmp_path / "pipe.json") is None


def test_nothing_is_written_that_could_not_be_read(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
