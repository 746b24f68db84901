"""mnas-export and nasnet-export: number types, data, folders of other networks, files that fail, bad flags."""

import json
import pathlib

import pytest
import toy_networks
from support import assert_one_line, script

from nas_tf.apps.export import ExportSettings, export
from nas_tf.trial import EvaluationError, UserError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The folder of a network that quantises badly, with its toy data set and device beside it."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "toy_data.py").write_text(pathlib.Path(toy_networks.DATASET).read_text())
    device = pathlib.Path(toy_networks.DEVICE).read_text()
    (folder / "toy_device.py").write_text(device.replace('log: str = ""', f'log: str = "{folder / "log"}"'))
    toy_networks.quantises_badly().save(folder / "model.keras")
    description = {
        "text": "toy",
        "scale": {"image_size": 12},
        "class_names": ["red", "green", "blue"],
        "dataset": {"name": "toy", "source": "made here", "splits": "drawn at random"},
    }
    (folder / "architecture.json").write_text(json.dumps(description))
    return folder


def settings(network, out_dir, **changed):
    device = str(network / "toy_device.py")
    return ExportSettings(network_dir=str(network), out_dir=str(out_dir), device=device, **changed)


def test_without_images_there_is_no_accuracy_and_no_int8(network, tmp_path):
    said = []
    records = export(settings(network, tmp_path / "out"), say=said.append)
    assert [record.number_type for record in records] == ["float32", "float32", "float16", "dynamic", "float32"]
    assert said[0].startswith("neither --data_dir nor --dataset: ") and "accuracy is not measured" in said[0]
    assert said[-1].startswith("latency on ") and said[-1].endswith("of model.tflite")
    assert all(record.validation_accuracy is None for record in records)
    # Other network types later, into the same folder.
    records = export(settings(network, tmp_path / "out", number_types=("float16",)), say=said.append)
    assert len(records) == 3 and (tmp_path / "out" / "model.tflite").exists()


def test_a_file_that_fails_ends_the_command_in_one_line(network, tmp_path):
    out, data = tmp_path / "out", network / "toy_data.py"
    process = script(
        "mnas-export", f"--network_dir={network}", f"--out_dir={out}", f"--dataset={data}", "--device=none"
    )
    assert_one_line(process, 1, "1 file failed", "model_int8.failed.tflite", "points below")
    assert "(Keras: 84.7 ± 2.5 %)" in process.stdout and "-: not measured" in process.stdout
    assert not (out / "model_int8.tflite").exists()
    assert {"model.tflite", "model_float16.tflite", "model_dynamic.tflite", "saved_model"} < {
        path.name for path in out.iterdir()
    }
    with pytest.raises(EvaluationError, match=r"1 file failed"):
        export(settings(network, out, number_types=("float32", "int8"), dataset=str(data)), say=lambda line: None)


def test_files_of_another_network_are_not_overwritten(network, tmp_path):
    def fails(out):
        with pytest.raises(UserError, match="holds files of another network"):
            export(settings(network, out, number_types=("float16",)), say=lambda line: None)

    for name, content in (
        ("architecture.json", '{"text": "other"}'),
        ("model.tflite", "x"),
        ("files.json", '{"network": "other", "files": {}}'),
    ):
        out = tmp_path / name.replace(".", "_")
        out.mkdir()
        (out / name).write_text(content)
        fails(out)
        assert [path.name for path in out.iterdir()] == [name]
    # Its own folder holds its own network, whatever was written there before it was trained anew.
    (network / "files.json").write_text('{"network": "other", "files": {}}')
    export(settings(network, "", number_types=("float16",)), say=lambda line: None)
    assert (network / "model_float16.tflite").exists()


def test_images_of_other_splits_are_told(network, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.keras").write_bytes((network / "model.keras").read_bytes())
    description = json.loads((network / "architecture.json").read_text())
    (other / "architecture.json").write_text(json.dumps({**description, "dataset": {"name": "theirs"}}))
    said, data = [], str(network / "toy_data.py")
    chosen = ExportSettings(network_dir=str(other), device="none", dataset=data, number_types=("float32",))
    export(chosen, say=said.append)
    assert said[0].startswith("these are not the images, or not the splits, ")
    (other / "architecture.json").write_text(json.dumps({**description, "class_names": ["a", "b", "c"]}))
    with pytest.raises(UserError, match="Expected images of the classes that the network learned"):
        export(chosen, say=said.append)


def test_mistakes():
    for command in ("mnas-export", "nasnet-export"):
        assert_one_line(script(command, "--number_types=int4"), 2, "float32, float16, dynamic, int8", "int4")
    assert_one_line(script("mnas-export", "--number_types=int8"), 2, "Expected --data_dir or --dataset")
    assert_one_line(script("nasnet-export", "--batch_size=0"), 2, "--batch_size to be at least 1")
    assert_one_line(script("mnas-export", "--dataset=cats", "--network_dir=x"), 2, "digits", "'cats'")
