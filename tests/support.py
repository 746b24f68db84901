"""What several tests share: the README's files, large data, an installed script and what it says."""

import atexit
import contextlib
import fcntl
import functools
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).parent.parent
CIFAR10_JPEG = ROOT.parent / "shared" / "data" / "cifar10_jpeg.zip"


def readme_file(name):
    """The text of the Python block in README.md or docs/ that begins with `# name`."""
    text = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return next(block for block in blocks if block.startswith(f"# {name}\n"))


def readme_commands(name):
    """The README's commands of that name as lists of words, as they are printed there."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    found = [words for words in lines if words and words[0] == name]
    assert found, f"README.md has no command {name}"
    return found


def plain_task(plain_space):
    """The `nas_tf.judges.Task` of a search of the digits in the README's space."""
    from mnas_tf.spaces.mnasnet import Scale
    from nas_tf.datasets import Source
    from nas_tf.judges import Task
    from nas_tf.plugins import Part

    return Task(
        space=Part("mnas_tf.spaces", str(plain_space)),
        images=Source(Part("nas_tf.datasets", "digits"), "", seed=0),
        proxy_scale=Scale(8, 10),
        deploy_scale=Scale(32, 10),
        recipe=None,
        proxy_samples=20,
        seed=0,
        published="mnas_tf.published",
    )


def script(*arguments, timeout=300, cwd=None, env=None, eager=False):
    """Runs an installed console script's function in a process of its own; `subprocess.CompletedProcess` with its text,
    and with its `cpu_seconds` and `grown_mb`, the memory that it took beside what it began with.

    The process is a fork of one that has imported Keras (`zygote.py`). `installed` runs the script itself. With `eager`
    nothing is traced that runs only a few times: worth it where networks have hundreds of layers.
    """
    name, *rest = map(str, arguments)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [os.path.join(folder, each) for each in ("stdout", "stderr")]
        request = {
            "words": [str(pathlib.Path(sys.executable).parent / name), *rest],
            "cwd": str(cwd or os.getcwd()),
            "env": {**os.environ, **(env or {})},
            "eager": eager,
            "stdout": outputs[0],
            "stderr": outputs[1],
        }
        ended = _zygote().run(request, timeout)
        texts = [pathlib.Path(path).read_text(errors="replace") for path in outputs]
    process = subprocess.CompletedProcess(request["words"], ended["status"], *texts)
    process.cpu_seconds, process.grown_mb = ended["cpu_seconds"], ended["grown_mb"]
    return process


def peak_mb(anew=False):
    """Megabytes that this process has had at most, where `anew` since now (Linux)."""
    if anew:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


@functools.cache
def _zygote():
    zygote = _Zygote()
    atexit.register(zygote.close)
    return zygote


class _Zygote:
    def __init__(self):
        command = [sys.executable, str(pathlib.Path(__file__).with_name("zygote.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def run(self, request, timeout):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        child = json.loads(self._process.stdout.readline())["pid"]
        late = threading.Timer(timeout, lambda: os.killpg(child, signal.SIGKILL))
        late.start()
        try:
            return json.loads(self._process.stdout.readline())
        finally:
            late.cancel()

    def close(self):
        self._process.kill()


def without_graph_rewriting():
    """Has TensorFlow run graphs as they are traced: rewriting the small ones of tests takes longer than they run."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@contextlib.contextmanager
def eagerly():
    """Inside it, functions are not traced before they run."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def installed(*arguments, timeout=300, **options):
    """Runs an installed console script of this environment; `subprocess.CompletedProcess` with its text."""
    name, *rest = map(str, arguments)
    path = pathlib.Path(sys.executable).parent / name
    return subprocess.run(
        [str(path), *rest],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **options.pop("env", {})},
        **options,
    )


def assert_one_line(process, status, *words):
    """Asserts the exit status and that standard error ends in one clear line that has all `words`, and no traceback."""
    assert process.returncode == status, process.stderr[-2000:]
    assert "Traceback" not in process.stderr, process.stderr[-3000:]
    last = process.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in last, last


def made_once(tmp_path_factory, name, make):
    """Returns a folder that `make(folder)` filled, once for all the processes among which tests are divided."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder
