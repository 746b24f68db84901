"""A process that has imported Keras and forks into each command that a test runs: an import of 8 s is paid once.

Each line on its standard input is a JSON request: the command's words, its folder, environment and output files. The
fork runs the installed console script's function, as the script itself does; its process id and exit status come back.
"""

import gc
import importlib.metadata
import json
import os
import resource
import sys


def serve(answers):
    import keras  # noqa: F401  not used: computing something would start threads, which no fork has
    from support import without_graph_rewriting

    without_graph_rewriting()
    gc.collect()
    gc.freeze()
    begun_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        print(json.dumps({"pid": child}), file=answers, flush=True)
        _, status, usage = os.wait4(child, 0)
        ended = {
            "status": os.waitstatus_to_exitcode(status),
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "grown_mb": usage.ru_maxrss / 1024 - begun_mb,
        }
        print(json.dumps(ended), file=answers, flush=True)


def _run(request):
    os.setpgid(0, 0)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
    # For the rest of the process's life.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = request["words"]
    name = os.path.basename(sys.argv[0])
    status = 1
    if request["eager"]:
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
    try:
        (point,) = importlib.metadata.entry_points(group="console_scripts", name=name)
        status = point.load()() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    # What an import prints goes nowhere; only answers go to the test.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    serve(answers)
