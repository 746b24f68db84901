"""What several test files share: the README's own search space, an installed script, a small setup."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CIFAR10_JPEG = ROOT.parent / "shared" / "data" / "cifar10_jpeg.zip"


def readme_file(name):
    """The text of the README's Python block that begins with `# name`."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    return next(block for block in blocks if block.startswith(f"# {name}\n"))


@pytest.fixture(scope="session")
def plain_space(tmp_path_factory):
    """Path of the README's example of a search space of one's own: 18 small networks that train in a second."""
    path = tmp_path_factory.mktemp("space") / "plain_space.py"
    path.write_text(readme_file("plain_space.py"))
    return path


def script(*arguments, timeout=300, **options):
    """Runs an installed console script of this environment; `subprocess.CompletedProcess` with its text."""
    name, *rest = map(str, arguments)
    path = pathlib.Path(sys.executable).parent / name
    return subprocess.run([str(path), *rest], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **options.pop("env", {})}, **options)  # fmt: skip


def assert_one_line(process, status, *words):
    """Asserts the exit status and that standard error ends in one clear line that has all `words`, and no traceback."""
    assert process.returncode == status, process.stderr[-2000:]
    assert "Traceback" not in process.stderr, process.stderr[-3000:]
    last = process.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in last, last
