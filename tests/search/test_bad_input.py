"""A user's mistake at the command line: one clear line, exit status 2, no traceback, nothing finished lost."""

import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from PIL import Image
from support import assert_one_line, installed, script

pytestmark = pytest.mark.real


@pytest.fixture
def images(tmp_path):
    """A folder of two classes with eight grey images of odd sizes each."""
    for i in range(16):
        path = tmp_path / "images" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20 + i, 31 - i), 10 * i).save(path)
    return tmp_path / "images"


def search(tmp_path, *flags, run_dir="run", **options):
    # Without a device of its own, or a data set that needs a folder, each of these commands would run.
    return script("mnas-search", f"--run_dir={tmp_path / run_dir}", "--device=simulated", *flags, **options)


def test_help_lists_every_flag_without_keras():
    begin = time.perf_counter()
    process = installed("mnas-search", "--help")
    seconds = time.perf_counter() - begin
    assert process.returncode == 0 and process.stderr == ""
    for flag in (
        "run_dir",
        "dataset",
        "data_dir",
        "search_space",
        "algorithm",
        "num_trials",
        "seed",
        "workers",
        "num_workers",
        "proxy_image_size",
        "proxy_epochs",
        "proxy_samples",
        "proxy_width_multiplier",
        "device",
        "target_latency_ms",
        "reward",
        "deploy_image_size",
        "max_hours",
        "warm_start",
        "cost",
        "target_latency_of",
        "max_num_params",
        "mnasnet_base",
        "mnasnet_kernel_sizes",
        "ppo_learning_rate",
        "host_num_threads",
        "host_runtime",
        "tfds_name",
        "image_folder_validation_fraction",
    ):
        assert f"--{flag}: " in process.stdout, flag
    # Importing Keras alone takes 4 s and more; a bound for a busy machine, not the 2 s of an idle one.
    assert seconds < 10


@pytest.mark.parametrize("name", ["mnas-train", "mnas-export"])
def test_help_of_the_others(name):
    process = script(name, "--help")
    assert process.returncode == 0 and ("--device: " in process.stdout or "--dataset: " in process.stdout)


def test_python_m_is_the_script():
    process = subprocess.run([sys.executable, "-m", "mnas_tf.search", "--help"], capture_output=True, text=True)
    assert process.returncode == 0 and process.stdout == installed("mnas-search", "--help").stdout


@pytest.mark.parametrize(
    "flags,words",
    [
        (["--no_such_flag=1"], ["no_such_flag"]),
        (["--num_trials=many"], ["num_trials", "many"]),
        (["--num_trials=-1"], ["Expected --num_trials to be at least 0. Received: -1"]),
        (["--num_trials=0"], ["Expected --max_hours where --num_trials=0 asks for as many as time allows"]),
        (["--reward=best"], ["reward", "best", "soft"]),
        (["--target_latency_ms=0"], ["Expected --target_latency_ms to be above 0. Received: 0.0"]),
        (["--target_latency_ms=-3"], ["Expected --target_latency_ms to be above 0. Received: -3.0"]),
        (["--target_latency_ms=nan"], ["Expected --target_latency_ms to be a finite number. Received: nan"]),
        (["--target_latency_ms=soon"], ["target_latency_ms", "soon"]),
        (["--target_latency_of=squeezenet"], ["mobilenet_v2", "Received: 'squeezenet'"]),
        (["--dataset=nothing"], ["digits, image_folder, tfds", "Received: 'nothing'"]),
        (["--search_space=nothing"], ["mnasnet", "Received: 'nothing'"]),
        (["--search_space=nothing.py"], ["There is no file", "nothing.py"]),
        (
            ["--algorithm=nothing"],
            ["evolution, listed, local_search, ppo, predictor, random_search", "Received: 'nothing'"],
        ),
        (["--device=nothing"], ["host, simulated", "Received: 'nothing'"]),
        (["--mnasnet_kernel_sizes=3,big"], ["--mnasnet_kernel_sizes expects int values", "3,big"]),
        (["--max_tflite_bytes=1000"], ["--max_tflite_bytes needs a --device that times files"]),
        (["digits"], ["Expected only flags, as --name=value. Received: 'digits'"]),
        (["--proxy_image_size=0"], ["proxy_image_size", "Received: 0"]),
        (["--proxy_epochs=0"], ["Expected --proxy_epochs to be at least 1. Received: 0"]),
        (["--proxy_width_multiplier=0"], ["width_multiplier"]),
    ],
)
def test_flags(tmp_path, flags, words):
    assert_one_line(search(tmp_path, *flags), 2, *words)
    assert not (tmp_path / "run" / "trials.sqlite").exists()


def test_no_run_dir():
    assert_one_line(script("mnas-search"), 2, "Expected --run_dir")


def test_data_folders(tmp_path, images):
    def refused(data_dir, *words):
        assert_one_line(search(tmp_path, "--dataset=image_folder", f"--data_dir={data_dir}"), 2, *words)

    refused(tmp_path / "none", str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", str(tmp_path / "empty"))
    (images / "bird").mkdir()
    refused(images, "bird")
    (images / "bird").rmdir()
    for path in (images / "dog").iterdir():
        path.unlink()
    (images / "dog").rmdir()
    refused(images, "class")
    assert_one_line(search(tmp_path, "--dataset=image_folder"), 2, "data_dir")


def test_an_unreadable_image(tmp_path, images):
    (images / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    process = search(tmp_path, "--dataset=image_folder", f"--data_dir={images}", "--workers=inline", "--num_trials=1")
    assert_one_line(process, 2, "broken.jpg")
    assert not list((tmp_path / "run").glob("best"))


def small(plain_space, *flags):
    return [
        f"--search_space={plain_space}",
        "--algorithm=random_search",
        "--proxy_epochs=1",
        "--proxy_image_size=8",
        "--deploy_image_size=16",
        "--target_latency_ms=1",
        "--final_epochs=0",
        "--workers=inline",
        *flags,
    ]


def test_grey_images_of_odd_sizes_are_fine(tmp_path, images, plain_space):
    process = search(
        tmp_path,
        *small(plain_space),
        "--dataset=image_folder",
        f"--data_dir={images}",
        "--num_trials=1",
        "--image_folder_validation_fraction=0.25",
        "--image_folder_test_fraction=0.25",
    )
    assert process.returncode == 0, process.stderr[-3000:]


def test_a_run_folder_made_with_other_settings(tmp_path, plain_space):
    assert search(tmp_path, *small(plain_space, "--num_trials=2")).returncode == 0
    process = search(tmp_path, *small(plain_space, "--num_trials=2", "--seed=7", "--proxy_batch_size=16"))
    assert_one_line(process, 2, "begun with other settings", "--seed=7 (was 0)", "--proxy_batch_size=16 (was 32)")
    process = search(tmp_path, *small(plain_space, "--num_trials=2", "--simulated_overhead_ms=3"))
    assert_one_line(process, 2, "--simulated_overhead_ms=3.0 (was null)")
    process = search(tmp_path, *small(plain_space, "--num_trials=3", "--deadline_factor=2"))
    assert process.returncode == 0, process.stderr[-3000:]
    db = sqlite3.connect(tmp_path / "run" / "trials.sqlite")
    assert db.execute("SELECT COUNT(*) FROM trials WHERE state = 'done'").fetchone() == (3,)
    db.close()

    new = search(tmp_path, *small(plain_space, f"--warm_start={tmp_path / 'run'}", "--num_trials=1"), run_dir="new")
    assert new.returncode == 0 and "3 trials of" in new.stdout, new.stderr[-3000:]
    process = search(
        tmp_path, *small(plain_space, f"--warm_start={tmp_path / 'run'}", "--proxy_batch_size=16"), run_dir="other"
    )
    assert_one_line(process, 2, "--warm_start=", "--proxy_batch_size=16 (was 32)")
    process = search(tmp_path, *small(plain_space, "--warm_start=nowhere"), run_dir="third")
    assert_one_line(process, 2, "Expected the folder of a run", "nowhere")


def test_a_warm_start_from_a_run_without_a_finished_trial_measures_nothing(tmp_path, plain_space):
    over = search(tmp_path, *small(plain_space, "--max_hours=1e-9", "--workers=process"))
    assert_one_line(over, 2, "--max_hours=1e-09, over before")
    flags = small(plain_space, f"--warm_start={tmp_path / 'run'}")
    expected = ("Expected --warm_start to be a run with finished trials", f"--warm_start={tmp_path / 'run'}, which has")
    assert_one_line(search(tmp_path, *flags, run_dir="new"), 2, *expected)
    for path in (tmp_path / "run").glob("trials.sqlite*"):
        path.unlink()
    process = search(tmp_path, *flags, run_dir="new")
    assert_one_line(process, 2, "Expected a run folder with trials.sqlite", str(tmp_path / "run" / "trials.sqlite"))
    db = sqlite3.connect(tmp_path / "new" / "trials.sqlite")
    assert db.execute("SELECT COUNT(*) FROM measurements").fetchone() == (0,)
    db.close()
    assert not (tmp_path / "new" / "workers.log").exists()


def test_a_damaged_database(tmp_path, plain_space):
    flags = small(plain_space, "--num_trials=1")
    assert search(tmp_path, *flags).returncode == 0
    config = tmp_path / "run" / "config.json"
    config.write_text(json.dumps({"flags": {}}))
    assert_one_line(search(tmp_path, *flags), 2, "config.json is damaged")
    (tmp_path / "run" / "trials.sqlite").write_bytes(b"damaged" * 1000)
    for name in ("trials.sqlite-wal", "trials.sqlite-shm"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    assert_one_line(search(tmp_path, *flags), 2, "trials.sqlite", "damaged", "restore a copy")


def test_a_run_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert_one_line(search(tmp_path, run_dir="file/run"), 2, "folder that can be written", "file/run")
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        assert_one_line(search(tmp_path, run_dir="locked/run"), 2, "folder that can be written")


def test_a_full_disk_in_mid_run(tmp_path, plain_space):
    flags = small(plain_space, "--num_trials=2")
    assert search(tmp_path, *flags).returncode == 0
    # A limit on the size of files, a little above that of the records: what a full disk does to the next write.
    limit = sum((tmp_path / "run" / name).stat().st_size for name in ("trials.sqlite",)) // 1024 + 1
    path = os.path.join(os.path.dirname(sys.executable), "mnas-search")
    more = small(plain_space, "--num_trials=40")
    process = subprocess.run(
        [
            "sh",
            "-c",
            f'ulimit -f {2 * limit}; exec "$0" "$@"',
            path,
            f"--run_dir={tmp_path / 'run'}",
            "--device=simulated",
            *more,
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert_one_line(process, 1, "Cannot write", "Everything finished before is kept")
    db = sqlite3.connect(tmp_path / "run" / "trials.sqlite")
    assert db.execute("SELECT COUNT(*) FROM trials WHERE state = 'done'").fetchone()[0] >= 2
    db.close()


def test_train_and_export(tmp_path):
    assert_one_line(script("mnas-train"), 2, "Expected --out_dir")
    out = f"--out_dir={tmp_path / 'out'}"
    assert_one_line(script("mnas-train", out, "--architecture=resnet"), 2, "mnasnet_a1", "Received: 'resnet'")
    assert_one_line(script("mnas-train", out, "--architecture=r1_k3"), 2, "Expected a block as r1_k3", "'r1_k3'")
    assert_one_line(script("mnas-train", out, "--architecture=none.json"), 2, "none.json")
    assert_one_line(script("mnas-export"), 2, "Expected --network_dir")
    assert_one_line(script("mnas-export", f"--network_dir={tmp_path}"), 2, "architecture.json")
    (tmp_path / "architecture.json").write_text("{")
    (tmp_path / "model.keras").write_text("{")
    assert_one_line(script("mnas-export", f"--network_dir={tmp_path}"), 2, "architecture.json", "damaged")
