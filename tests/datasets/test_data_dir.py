"""`--data_dir` without `--dataset` means images of one's own, in every command that takes both."""

import dataclasses
import json

import pytest
from PIL import Image
from support import assert_one_line, script

from nas_tf.apps.export import ExportSettings
from nas_tf.apps.phone import PhoneSettings
from nas_tf.family import families

SETTINGS = [
    *(pytest.param(family.search_settings, "digits", id=family.search_settings.__name__) for family in families()),
    *(pytest.param(family.train_settings, "digits", id=family.train_settings.__name__) for family in families()),
    pytest.param(PhoneSettings, "digits", id="PhoneSettings"),
    pytest.param(ExportSettings, "", id="ExportSettings"),
]


@pytest.mark.parametrize("kind,otherwise", SETTINGS)
def test_a_folder_alone_means_images_of_ones_own(kind, otherwise):
    given = {name: "x" for name in ("run_dir", "out_dir") if name in kind.__dataclass_fields__}
    assert kind(**given).dataset == otherwise
    assert kind(**given, data_dir="flowers.zip").dataset == "image_folder"
    for named in ("tfds", "digits", "mine.py"):
        assert kind(**given, dataset=named, data_dir="flowers.zip").dataset == named
        assert kind(**given, dataset=named).dataset == named
    help_text = {field.name: field.metadata["help"] for field in dataclasses.fields(kind)}["dataset"]
    assert "default: image_folder with a --data_dir, else" in help_text


@pytest.mark.real
def test_a_search_goes_on_with_the_folder_alone(tmp_path, plain_space):
    for number in range(40):
        path = tmp_path / "flowers" / ("rose", "tulip")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (6 * number, 90, 40)).save(path)

    def search(*more):
        return script(
            "mnas-search",
            f"--run_dir={tmp_path / 'run'}",
            f"--search_space={plain_space}",
            "--device=simulated",
            "--algorithm=random_search",
            "--proxy_epochs=1",
            "--proxy_image_size=8",
            "--deploy_image_size=16",
            "--target_latency_ms=1",
            "--final_epochs=0",
            "--workers=inline",
            *more,
        )

    data = f"--data_dir={tmp_path / 'flowers'}"
    for number, more in enumerate(([data], [data], [data, "--dataset=image_folder"]), 1):
        process = search(*more, f"--num_trials={number}")
        assert process.returncode == 0 and "image_folder: " in process.stdout, process.stderr[-3000:]
        assert "images of median 12 px; --deploy_image_size=16 enlarges them" in process.stdout
    assert json.loads((tmp_path / "run" / "config.json").read_text())["flags"]["dataset"] == "image_folder"
    assert_one_line(search("--num_trials=4"), 2, "begun with other settings", "--dataset=digits (was image_folder)")
    assert_one_line(search(data, "--dataset=digits"), 2, "'digits' reads no folder", "leave --dataset out")
