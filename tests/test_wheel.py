"""A wheel built from the tree, installed elsewhere, has working console scripts."""

import os
import subprocess
import sys

import pytest
from support import ROOT

pytestmark = pytest.mark.real


def test_the_wheels_scripts_work(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={tmp_path / 'dist'}", str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    # Its dependencies are those of this environment; the package itself comes from the wheel alone.
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", f"--target={tmp_path / 'site'}", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    names = sorted(path.name for path in (tmp_path / "site" / "bin").iterdir())
    assert len(names) == 14 and "nas-make" in names
    for name in names:
        command = [str(tmp_path / "site" / "bin" / name)]
        help_text = subprocess.run([*command, "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert help_text.returncode == 0 and "Flags:" in help_text.stdout, help_text.stderr
    search = [
        str(tmp_path / "site" / "bin" / "mnas-search"),
        "--run_dir=run",
        "--device=simulated",
        "--num_trials=1",
        "--algorithm=random_search",
        "--search_space=none.py",
    ]
    process = subprocess.run(search, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 2 and "There is no file" in process.stderr
    where = "import nas_tf, mnas_tf.search; print(nas_tf.__file__)"
    process = subprocess.run(
        [sys.executable, "-c", where], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert process.stdout.startswith(str(tmp_path / "site"))
    for shipped in ("tables/pixel1.json", "reference.tflite", "_android/published_latencies.json"):
        assert (tmp_path / "site" / "nas_tf" / "devices" / shipped).is_file()
