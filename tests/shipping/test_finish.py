"""What ships takes the place of what shipped before, whenever it is killed."""

import pytest

from nas_tf.shipping.finish import _replaced


@pytest.mark.parametrize("there, kept", [(("old", "new"), "new"), (("old",), "old"), (("network", "old"), "network")])
def test_a_kill_between_two_renames_loses_nothing(tmp_path, there, kept):
    folder = tmp_path / "network"
    for word in there:
        path = folder if word == "network" else tmp_path / f"network.{word}"
        path.mkdir()
        (path / "model.tflite").write_text(word)
    with _replaced(folder, "another"):
        assert (folder / "model.tflite").read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
