"""Networks that hang, kill or flood their worker, and stops at any moment: nothing hangs, and one stops nothing."""

import configparser
import dataclasses
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import types
from pathlib import Path

import psutil
import pytest
from support import ROOT, assert_one_line, readme_file, script
from worker_support import BadJob, make_setup

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings, search
from nas_tf.rewards import Objective
from nas_tf.search import deadlines
from nas_tf.search.deadlines import Deadlines
from nas_tf.search.evaluation import AccuracyJob
from nas_tf.search.rehearsal import Rehearsal, announcement
from nas_tf.search.request import make_request
from nas_tf.search.run import _hours_over
from nas_tf.search.workers import Outcome
from nas_tf.search.workers.inline import InlineWorkers
from nas_tf.search.workers.process import ProcessWorkers
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.training.train import Trained
from nas_tf.trial import Cost, EvaluationError, InfeasibleArchitecture, KilledWorker, Latency, Trial, UserError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def workers(plain_space, tmp_path_factory):
    """Two worker processes; `log` is where they print."""
    log = tmp_path_factory.mktemp("log") / "workers.log"
    made = ProcessWorkers(make_setup(plain_space), num_workers=2, log_path=log)
    made.log = log
    yield made
    made.close()


def outcomes(workers, *hows, **options):
    """dict from each way of going wrong to what came of it, all at once."""
    for how in hows:
        workers.submit(how, BadJob(how), **options)
    found = [workers.wait(60) for _ in hows]
    return {outcome.key: outcome for outcome in found}


def test_what_sleeps_spins_or_stands_still_is_killed_and_tried_once_more(workers):
    begin = time.monotonic()
    found = outcomes(workers, "sleep", "spin", "stop", deadline_seconds=0.5)
    for outcome in found.values():
        assert isinstance(outcome.failure, KilledWorker), outcome
        assert str(outcome.failure) == "The network cost its worker twice, at last by taking longer than 0 s"
    assert time.monotonic() - begin < 30


def test_what_is_late_only_once_is_done(workers, tmp_path):
    workers.submit(1, BadJob("sleep", str(tmp_path)), deadline_seconds=0.5)
    assert workers.wait(60).value == "well"


def test_saying_what_one_is_at_prolongs_no_deadline_and_no_wait(workers):
    workers.submit(1, BadJob("talk"), deadline_seconds=1.0)
    begin, outcome = time.monotonic(), None
    while outcome is None:
        looked = time.monotonic()
        outcome = workers.wait(0.3)
        assert time.monotonic() - looked < 5
    assert str(outcome.failure) == "The network cost its worker twice, at last by taking longer than 1 s"
    assert time.monotonic() - begin < 30


def test_nonsense_about_what_one_is_at_ends_nothing_and_is_one_short_line(workers, monkeypatch):
    said = []
    monkeypatch.setattr(workers, "on_doing", lambda key, words: said.append((key, words)))
    assert outcomes(workers, "say_nonsense")["say_nonsense"].value == "well"
    assert said == [("say_nonsense", ("[2Jlonger" * 100)[:80]), *[("say_nonsense", "")] * 6]


def test_time_held_still_does_not_count(workers):
    """As for another's timing: the clock of the process is that of its work."""
    workers.submit(1, BadJob("sleep"), deadline_seconds=1.0)
    while not (busy := workers._busy) or not busy[0].has_begun:
        workers.wait(0.1)
    first = busy[0]
    first.hold()
    workers.wait(1.5)
    assert workers._busy == [first]
    first.go_on()
    workers.wait(1.5)
    assert first not in workers._busy
    workers.close()


def test_one_that_is_killed_while_it_times_lets_the_others_go_on(workers):
    workers.submit("nap", BadJob("nap"))
    workers.submit("sleep", BadJob("sleep_while_it_times"), deadline_seconds=0.5)
    found = {outcome.key: outcome for outcome in (workers.wait(60), workers.wait(60))}
    assert found["nap"].value == "well" and isinstance(found["sleep"].failure, KilledWorker)
    assert outcomes(workers, "nap", "well")["nap"].value == "well"


def test_a_network_that_kills_its_worker_twice_is_infeasible(workers):
    found = outcomes(workers, "kill", "crash", "leave", "close", "exit")
    says = {how: str(outcome.failure) for how, outcome in found.items()}
    assert all(isinstance(outcome.failure, InfeasibleArchitecture) for outcome in found.values()), says
    words = "The network cost its worker twice, at last by"
    assert says == {
        "kill": f"{words} signal 9",
        "crash": f"{words} signal 11",
        "leave": f"{words} exit status 3",
        "close": f"{words} closing its pipe",
        "exit": "The network ended its process: SystemExit: 3",
    }


def test_what_cannot_be_pickled_read_or_stored_ends_nothing(workers):
    raised = ("raise_what_cannot_be_pickled", "raise_what_cannot_be_read")
    returned = ("return_what_cannot_be_pickled", "return_what_cannot_be_read")
    found = outcomes(workers, *raised, *returned, "flood")
    assert found["flood"].value == "well" and workers.log.stat().st_size > 8e6
    assert isinstance(found["raise_what_cannot_be_pickled"].failure, EvaluationError)
    assert str(found["raise_what_cannot_be_read"].failure) == "it needs two"
    assert "cannot be sent" in str(found["return_what_cannot_be_pickled"].failure)
    assert "cannot be read" in str(found["return_what_cannot_be_read"].failure)


def test_the_log_of_workers_does_not_grow_without_end(workers, monkeypatch):
    monkeypatch.setattr("nas_tf.search.workers.process._LOG_BYTES", 1_000_000)
    outcomes(workers, "flood", "well")
    workers._bound_log()
    assert workers.log.stat().st_size <= 1_000_000


def test_a_wait_ends(workers):
    assert workers.wait() is None
    workers.submit(1, BadJob("sleep"))
    begin = time.monotonic()
    assert workers.wait(0.3) is None and time.monotonic() - begin < 5
    workers.close()


def test_processes_that_cannot_begin(plain_space, tmp_path):
    """It is the user's own mistake where the line of a file of theirs is known, else the world's fault."""
    space = tmp_path / "gone_space.py"
    space.write_text(plain_space.read_text())
    setup = make_setup(space)
    space.write_text("import no_such_module")
    gone = ProcessWorkers(setup, num_workers=1, log_path=tmp_path / "log")
    gone.submit(1, BadJob("well"))
    with pytest.raises(UserError, match=r"^gone_space.py, line 1: ModuleNotFoundError: .*no_such_module"):
        gone.wait(60)
    gone.close()
    assert f'"{space}", line 1, in <module>' in (tmp_path / "log").read_text()
    space.write_text("import os\nos._exit(7)")
    gone.submit(1, BadJob("well"))
    with pytest.raises(EvaluationError, match=r"3 worker processes in a row ended before .* by exit status 7"):
        gone.wait(60)
    gone.close()


def test_inline_a_network_that_exits_is_infeasible(plain_space):
    inline = InlineWorkers(make_setup(plain_space))
    inline.submit(1, BadJob("exit"))
    assert isinstance(inline.wait().failure, InfeasibleArchitecture)
    assert inline.wait() is None


def test_deadlines_are_of_the_rehearsal_and_grow_with_the_network():
    training = Outcome("training", Trained(0.5, 10.0, 5.0, 0.1, 400), seconds=20.0)
    cost = Outcome("cost", Cost(100, 1000, 10), seconds=3.0)
    made = Deadlines.of_rehearsal(10.0, training, cost, 30.0)
    assert made == Deadlines(cost_seconds=90.0, accuracy_seconds=600.0, mult_adds=1000)
    assert made.of_accuracy(Cost(100, 3000, 10)) == 1800.0
    assert made.of_accuracy(Cost(100, 10, 10)) == 600.0
    failed = Deadlines.of_rehearsal(10.0, Outcome("training"), cost, 0.0)
    assert failed.of_accuracy(Cost(100, 3000, 10)) == 3 * deadlines._UNREHEARSED_SECONDS


def bad_space(tmp_path, body, name="bad_space.py"):
    """The README's space, whose `build` begins with `body`."""
    text = readme_file("plain_space.py")
    begin = "        import keras\n\n        x = inputs"
    assert begin in text
    path = tmp_path / name
    path.write_text(text.replace(begin, f"        import os, signal, time\n{body}{begin}"))
    return path


def command(space, run_dir, *flags):
    return [
        "mnas-search",
        f"--search_space={space}",
        f"--run_dir={run_dir}",
        "--algorithm=random_search",
        "--device=simulated",
        "--proxy_epochs=1",
        "--proxy_image_size=8",
        "--proxy_samples=50",
        "--deploy_image_size=16",
        "--target_latency_ms=0.6",
        "--final_epochs=0",
        *flags,
    ]


def states(run_dir):
    db = sqlite3.connect(f"{(run_dir / 'trials.sqlite').as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        return db.execute("SELECT state, infeasible FROM trials ORDER BY id").fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        db.close()


def test_a_space_in_which_most_networks_kill_their_worker_is_searched_to_the_end(tmp_path):
    """Also the rehearsal's first network does, and more than three in a row."""
    space = bad_space(tmp_path, "")
    asked = "        return PlainNet(**self.answers(tokens))\n"
    text = space.read_text()
    assert asked in text
    # Before Keras is imported, to save the time; only a worker has a parent.
    kill = (
        "        import multiprocessing, os, signal\n"
        "        if multiprocessing.parent_process() and tokens[0] != 0:\n"
        "            os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    space.write_text(text.replace(asked, kill + asked))
    process = script(*command(space, tmp_path / "run", "--num_workers=2", "--num_trials=8", "--seed=2"))
    assert process.returncode == 0, process.stderr[-3000:]
    found = states(tmp_path / "run")
    reason = "The network cost its worker twice, at last by signal 11"
    assert {state for state, _ in found} == {"done", "infeasible"} and len(found) == 8
    assert {why for state, why in found if state == "infeasible"} == {reason}
    in_a_row = "".join("x" if state == "infeasible" else "." for state, _ in found)
    assert "xxx" in in_a_row
    # A restart is not stuck on them.
    process = script(*command(space, tmp_path / "run", "--num_workers=2", "--num_trials=10", "--seed=2"))
    assert process.returncode == 0 and states(tmp_path / "run")[:8] == found, process.stderr[-3000:]
    assert len(states(tmp_path / "run")) == 10


def test_a_child_that_sleeps_for_ever_ends_no_search(tmp_path, monkeypatch):
    """In a whole search with its worker processes. Each job's deadline is the rehearsal's; here it is cut short for
    those that sleep, which none does before the first trial."""
    mark, asked, sleepers = tmp_path / "trials", {}, []
    body = f"        if os.path.exists({str(mark)!r}) and net.filters == 16 and scale.image_size == 8:\n"
    space = bad_space(tmp_path, f"{body}            time.sleep(600)\n")
    submit = ProcessWorkers.submit

    def submit_and_cut(self, key, job, first=False, deadline_seconds=None):
        asked[key] = deadline_seconds
        if isinstance(job, AccuracyJob):
            mark.touch()
            if job.tokens[0] == 1:
                sleepers.append(key[0])
                deadline_seconds = 1.0
        submit(self, key, job, first=first, deadline_seconds=deadline_seconds)

    factors, of_rehearsal = [], deadlines.Deadlines.of_rehearsal

    def with_factor(factor, *facts):
        factors.append(factor)
        return of_rehearsal(factor, *facts)

    monkeypatch.setattr(deadlines.Deadlines, "of_rehearsal", with_factor)
    monkeypatch.setattr(ProcessWorkers, "submit", submit_and_cut)
    nothing = types.SimpleNamespace(weights="none", accuracy=types.SimpleNamespace(validation=None))
    monkeypatch.setattr("nas_tf.search.results.best_network", lambda *_: nothing)
    monkeypatch.setattr("nas_tf.search.run.measure_published", lambda *_: {})

    def run():
        asked.clear()
        settings = Settings(
            run_dir=str(tmp_path / "run"),
            search_space=str(space),
            algorithm="random_search",
            device="simulated",
            num_trials=3,
            num_workers=1,
            proxy_image_size=8,
            proxy_samples=50,
            deploy_image_size=16,
            deadline_factor=12.5,
            seed=2,
        )
        return search(
            settings,
            Objective(target_latency_ms=0.6),
            proxy=ProxyRecipe(1),
            say=lambda line: None,
        )

    trials = run().trials
    assert [trial.tokens[0] for trial in trials] == [2, 0, 1]  # with this seed
    assert [trial.state for trial in trials] == ["done", "done", "infeasible"] and sleepers == [3]
    assert trials[2].infeasible == "The network cost its worker twice, at last by taking longer than 1 s"
    assert asked.pop("training") == asked.pop("cost") == deadlines.PATIENT_SECONDS
    of_trials = {key: seconds for key, seconds in asked.items() if isinstance(key, tuple)}
    assert of_trials and all(60 <= seconds < 24 * 3600 for seconds in of_trials.values())
    assert factors == [12.5] and Settings(run_dir="x").deadline_factor == 10
    # The same command is not stuck on them, and asks for nothing more.
    assert run().trials == trials and not asked


@pytest.mark.parametrize(
    "end,words",
    [
        ('activation="linear"', ["bad_space.py", "probabilities [batch, 10]", "Received: "]),
        ('activation="softmax"', ["probabilities [batch, 10]", "Received: shape [2, 11] for a batch of 2"]),
        ("activation=lambda x: x / 0.0", ["probabilities [batch, 10]", "Received: values that are not finite"]),
    ],
    ids=["no softmax", "another number", "not finite"],
)
def test_outputs_that_are_no_probabilities_are_refused_at_the_rehearsal(tmp_path, end, words):
    space = bad_space(tmp_path, "")
    text = space.read_text().replace('activation="softmax"', end)
    if end == 'activation="softmax"':
        text = text.replace("Dense(scale.num_classes", "Dense(scale.num_classes + 1")
    space.write_text(text)
    process = script(*command(space, tmp_path / "run", "--workers=inline", "--num_trials=2"))
    assert_one_line(process, 2, *words)
    assert states(tmp_path / "run") == []


def test_hours_that_are_over_end_a_network_that_hangs(tmp_path):
    space = bad_space(tmp_path, "        if scale.image_size == 16:\n            time.sleep(600)\n")
    begin = time.monotonic()
    process = script(*command(space, tmp_path / "run", "--num_workers=1", "--num_trials=2", "--max_hours=0.0025"))
    assert process.returncode == 0, process.stderr[-3000:]
    assert time.monotonic() - begin < 40 and states(tmp_path / "run") == []
    assert "\n--max_hours=0.0025 is over, after 0 of 2 trials\n" in process.stdout


def test_hours_are_refused_where_a_network_that_hangs_could_not_be_ended(tmp_path, plain_space):
    flags = command(plain_space, tmp_path / "run", "--workers=inline", "--num_trials=1", "--max_hours=1")
    words = ["--max_hours=1 holds. Received: --workers=inline, which cannot. Give --workers=process, or no --max_hours"]
    assert_one_line(script(*flags), 2, *words)
    assert not (tmp_path / "run" / "trials.sqlite").exists()


def begin(flags):
    return subprocess.Popen(
        [str(Path(sys.executable).parent / flags[0]), *flags[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_ends_within_five_seconds_with_one_line(tmp_path, number, status):
    """In the middle of a network: Ctrl-C while processes work, SIGTERM while this process itself hangs, unhearing."""
    hang = "time.sleep(600)" if number == signal.SIGINT else "signal.pthread_sigmask(signal.SIG_BLOCK, {15})"
    hang += "; time.sleep(600)"
    mark = tmp_path / "trial"
    body = f"        if os.path.exists({str(mark)!r}) and net.filters == 8:\n            {hang}\n"
    space = bad_space(tmp_path, body)
    workers = "process" if number == signal.SIGINT else "inline"
    process = begin(command(space, tmp_path / "run", f"--workers={workers}", "--num_workers=2", "--num_trials=90"))
    while not (tmp_path / "run" / "pareto.png").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    mark.touch()
    time.sleep(2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    begun = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 5.5
    assert process.returncode == status and "Traceback" not in said, said
    line = said.strip().splitlines()[-1]
    for words in ("mnas-search: stopped.", "the same command goes on from here", "run/report.html"):
        assert words in line
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


def test_a_stop_in_the_middle_of_tracing_ends_within_five_seconds(tmp_path):
    """Of 300 layers, which takes this machine half a minute; the mark is made when the first network is built."""
    mark, space = tmp_path / "built", bad_space(tmp_path, "")
    text = space.read_text()
    for old, new in (
        ("range(net.depth)", "range(300)"),
        ("strides=2, ", ""),
        ("        return keras.Model(", f"        open({str(mark)!r}, 'w').close()\n        return keras.Model("),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    space.write_text(text)
    process = begin(command(space, tmp_path / "run", "--workers=inline", "--num_trials=2"))
    while not mark.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 5.5
    assert process.returncode == 130 and "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("mnas-search: stopped. ")


@pytest.mark.parametrize("heard", [True, False], ids=["in Python", "in what does not hear"])
def test_a_second_ctrl_c_ends_at_once(heard):
    """Long before patience is over, whether or not the main thread runs Python code."""
    hang = "time.sleep(600)" if heard else "signal.pthread_sigmask(signal.SIG_BLOCK, {2}); time.sleep(600)"
    program = f"""
import signal, time
from nas_tf import stopping
stopping._PATIENCE_SECONDS = 600
with stopping.stoppable("toy"):
    try:
        print("runs", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        {hang}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "runs\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip().startswith("toy: stopped.") and said.count("\n") == 2, said


def test_the_line_of_a_stop_is_written_once_whoever_ends_the_process():
    program = """
import os, threading
from nas_tf import stopping
write = os.write
os.write = lambda *what: (write(*what), both.wait(0.2))
both = threading.Event()
threads = [threading.Thread(target=stopping._end, args=(2, "toy", 2)) for _ in range(3)]
for thread in threads:
    thread.start()
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert process.returncode == 130 and process.stderr.count("toy: stopped.") == 1


def test_a_stop_that_python_forgets_is_raised_again():
    """As in __del__, and in what the garbage collector calls, such as JAX's own callback."""
    program = """
import time
from nas_tf import stopping
class Slow:
    def __del__(self):
        print("runs", flush=True)
        time.sleep(600)
with stopping.stoppable("toy"):
    stopping._PATIENCE_SECONDS = 600
    try:
        slow = Slow()
        del slow
        while True:
            time.sleep(0.01)
    except stopping.Terminated as stop:
        print("closed", flush=True)
        stopping.leave(stop, "toy")
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "runs\n"
    process.send_signal(signal.SIGTERM)
    output, said = process.communicate(timeout=60)
    assert (process.returncode, output, said.count("\n")) == (143, "closed\n", 1), said


def console_scripts():
    """[(name, module, function), ...] of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].split("\n")
    return [re.fullmatch(r"(\S+) = (\S+):(\w+)", line).groups() for line in lines if line]


def test_a_stop_during_the_first_imports_is_one_line_too(tmp_path):
    """Each command imports absl before anything heavy: here that never ends."""
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl" / "__init__.py").write_text("import time\nprint('imports', flush=True)\ntime.sleep(600)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    scripts = console_scripts()
    assert len(scripts) >= 9
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", f"import sys\nfrom {module} import {function}\nsys.exit({function}())"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
            for _, module, function in scripts
        ]
        for process in processes:
            assert process.stdout.readline() == "imports\n"
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
            assert process.returncode == status
            assert said.count("\n") == 2 and ": stopped. Nothing finished is lost: the same command goes on" in said


def test_help_into_head_is_quiet():
    """The reader is gone before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [Path(sys.executable).parent / "mnas-search", "--help"]
    try:
        process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert process.returncode == 0 and process.stderr == ""


@pytest.mark.parametrize("max_hours", [None, 2.0])
def test_the_training_that_hours_do_not_bound_is_announced(tmp_path, plain_space, max_hours):
    """Children and the network to ship are the same here, and so is the time of their steps: 3 epochs x 400 steps."""
    settings = Settings(
        run_dir=str(tmp_path / "run"),
        search_space=str(plain_space),
        device="simulated",
        proxy_image_size=8,
        proxy_width_multiplier=1.0,
        deploy_image_size=8,
        final_epochs=3,
        max_hours=max_hours,
    )
    request = make_request(FAMILY, settings, Objective(target_latency_ms=0.6), proxy=ProxyRecipe(1))
    trained = Outcome("training", Trained(0.5, 10.0, 5.0, 0.1, 400), seconds=20.0)
    rehearsal = Rehearsal((0, 0, 0), trained, Outcome("cost", Cost(100, 1000, 10), seconds=3.0))
    workers = types.SimpleNamespace(num_workers=1)
    goal = request.objective.goal(request.objective.resolve({}), True)
    last = announcement(request, workers, goal, None, rehearsal, 40).splitlines()[-1]
    after = ". The training of the best network (--final_epochs) comes after --max_hours" if max_hours else ""
    assert last == f"then 3 epochs of the best network at 8 px: at most about 2 min{after}"
    # A target of 0.6 ms that nothing published meets is said, with the fastest.
    costs = {name: Cost(1, 1, 1, latency=Latency.estimate(ms)) for name, ms in (("a", 0.9), ("b", 0.8))}
    line = "no published network measured here meets it: the cheapest is b, 0.8000 ms"
    assert line in announcement(request, workers, goal, None, rehearsal, 40, costs)
    assert "no published" not in announcement(
        request, workers, goal, None, rehearsal, 40, costs | {"c": Cost(1, 1, 1, latency=Latency.estimate(0.6))}
    )


def test_hours_that_are_over_say_what_comes_after_them():
    finished, running = Trial(1, (0,), infeasible="too large"), Trial(2, (1,))
    settings = Settings(run_dir="run", max_hours=2, num_trials=9)
    line = "--max_hours=2 is over, after 1 of 9 trials"
    assert _hours_over(settings, [finished, running]).startswith(f"{line}. The training of the best network (--final_")
    assert _hours_over(dataclasses.replace(settings, final_epochs=0), [finished, running]) == line
    assert _hours_over(dataclasses.replace(settings, num_trials=1), [finished]) is None
    assert _hours_over(dataclasses.replace(settings, max_hours=None), [finished, running]) is None


def test_the_time_announced_is_of_the_trials_that_remain(tmp_path, plain_space):
    flags = command(plain_space, tmp_path / "run", "--workers=inline")
    first = script(*flags, "--num_trials=2")
    assert first.returncode == 0 and "\n2 trials of about " in first.stdout, first.stderr[-3000:]
    more = script(*flags, "--num_trials=3")
    assert "\nthe 1 of 3 trials that remain, of about " in more.stdout, more.stderr[-3000:]
    assert os.path.exists(tmp_path / "run" / "pareto.csv")
