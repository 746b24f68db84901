"""The README's commands of a search, as printed, at tiny scale: flags that follow make it small. Those of nas-make are
in making/test_make.py, those of a phone in devices/test_phone_search.py; continuous integration runs `make test`."""

import sqlite3

import pytest
from image_support import write_images, write_zip
from parent_support import SPACE, write_parent
from support import readme_commands, script

pytestmark = pytest.mark.real
TINY = [
    "--num_trials=2",
    "--algorithm=random_search",
    "--workers=inline",
    f"--search_space={SPACE.name}",
    "--proxy_image_size=16",
    "--proxy_epochs=1",
    "--deploy_image_size=16",
    "--final_epochs=0",
    "--target_latency_of=mnasnet_a1",
    "--device=simulated",
]
ALONE = ["--epochs=1", "--imports=none", "--baselines=", "--number_types=float32", f"--search_space={SPACE.name}"]


def test_searches_and_what_follows_them(tmp_path):
    write_images(tmp_path / "flowers", "train", (40, 40, 40))
    write_zip(tmp_path / "flowers", tmp_path / "flowers.zip")
    write_parent(tmp_path / "parent", epochs=1)
    elsewhere = {"--device=android", "--workers=ray"}  # those of a cluster are in search/test_ray_readme.py
    searches = [words for words in readme_commands("mnas-search") if not elsewhere & set(words)]
    assert len(searches) == 4
    for words in searches:
        own = [f"--parent={tmp_path / 'parent'}"] if any("--parent" in word for word in words) else []
        process = script(*words, *TINY, *own, cwd=tmp_path)
        assert process.returncode == 0 and "top 1" in process.stdout, process.stderr[-3000:]
        db = sqlite3.connect(tmp_path / words[1].removeprefix("--run_dir=") / "trials.sqlite")
        assert db.execute("SELECT COUNT(*) FROM trials WHERE state = 'done'").fetchone()[0] >= 2
        db.close()
    (words,) = readme_commands("nas-ship")
    process = script(*words, *ALONE, cwd=tmp_path)
    assert process.returncode == 0 and " ships: " in process.stdout, process.stderr[-3000:]
