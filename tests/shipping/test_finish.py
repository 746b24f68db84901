"""What ships takes the place of what shipped before, whenever it is killed."""

import json

import pytest

from nas_tf.networks.folder import recorded_network
from nas_tf.shipping.finish import _replaced, mend


def write(folder, network):
    folder.mkdir()
    (folder / "files.json").write_text(json.dumps({"network": network}))


@pytest.mark.parametrize(
    "there, kept",
    [
        ({"old": "a", "new": "b"}, "b"),  # killed between the two renames
        ({"network": "b", "old": "a"}, "b"),  # killed while the old one was deleted
        ({"network": "a", "new": "b"}, "a"),  # killed while the new one was written
        ({"network": "a"}, "a"),
    ],
)
def test_a_kill_loses_nothing_and_stands_in_no_ones_way(tmp_path, there, kept):
    folder = tmp_path / "network"
    for word, network in there.items():
        write(folder if word == "network" else tmp_path / f"network.{word}", network)
    mend(folder)
    assert recorded_network(folder) == kept
    with _replaced(folder, "c") as place:  # another network wins
        assert place != folder and recorded_network(folder) == kept
        write(place, "c")
    assert recorded_network(folder) == "c" and [path.name for path in tmp_path.iterdir()] == ["network"]
    with _replaced(folder, "c") as place:  # it is there
        assert place == folder
