"""The loop's own logic, with scripted workers: replay, copies, failures, limits, time."""

import dataclasses
import types

import numpy as np
import pytest

from nas_tf.algorithms import Algorithm, random_search
from nas_tf.ranking import repeated
from nas_tf.rewards import AccuracyReward, LatencyReward, Limits
from nas_tf.search.evaluation import AccuracyJob, CostJob
from nas_tf.search.loop import Search
from nas_tf.search.records import Records
from nas_tf.search.workers import Outcome
from nas_tf.space import Decision, SearchSpace, fingerprint
from nas_tf.training.train import Trained
from nas_tf.trial import Cost, EvaluationError, InfeasibleArchitecture, Latency, Trial, UserError


@dataclasses.dataclass(frozen=True)
class Net:
    number: int

    fingerprint = property(lambda self: fingerprint(self.number))

    def to_json(self):
        return self.number


class SumSpace(SearchSpace):
    """An architecture is the sum of three tokens, so that many token strings mean the same one."""

    name = "sum"
    decisions = tuple(Decision(f"decision{i}", (0, 1, 2, 3)) for i in range(3))

    def decode(self, tokens):
        return Net(sum(self.check(tokens)))

    encode = build = architecture = None


class ScriptedWorkers:
    """Answers each job with the function's value or exception, the latest first: an order unlike the one asked for."""

    def __init__(self, answer, num_workers=5):
        self.num_workers = num_workers
        self._answer, self._jobs, self.done, self.repeats = answer, [], [], []

    def submit(self, key, job, first=False, deadline_seconds=None):
        method = {AccuracyJob: "accuracy", CostJob: "cost"}[type(job)]
        self._jobs.append((key, method, job.tokens))
        if getattr(job, "repeat", 0):
            self.repeats.append((key[0], job.repeat))

    num_pending = property(lambda self: len(self._jobs))

    def drop_queue(self):
        self._jobs.clear()

    def wait(self, timeout_seconds=None):
        key, method, tokens = self._jobs.pop()
        self.done.append((key, method, sum(tokens)))
        try:
            return Outcome(key, self._answer(method, sum(tokens)))
        except Exception as error:
            return Outcome(key, failure=error)


class SlowWorkers(ScriptedWorkers):
    """The n-th accuracy takes `seconds[n]`, or none, on a clock of their own. They begin every job at once."""

    def __init__(self, seconds):
        super().__init__(facts)
        self.now, self.closed_at, self._seconds, self._ready = 0.0, None, iter(seconds), {}

    def submit(self, key, job, **options):
        super().submit(key, job, **options)
        self._ready[key] = self.now + (next(self._seconds, 0.0) if isinstance(job, AccuracyJob) else 0.0)

    def drop_queue(self):
        pass

    def wait(self, timeout_seconds=None):
        ready = next((job for job in self._jobs if self._ready[job[0]] <= self.now), None)
        if ready is None:
            self.now += timeout_seconds
            return None
        self._jobs.remove(ready)
        self._jobs.append(ready)
        return super().wait()

    def close(self):
        self.closed_at = self.now
        self._jobs.clear()


def facts(method, number):
    if method == "cost":
        return Cost(100 * number + 1, 1000, 10, latency=Latency.estimate(1.0 + number))
    return Trained(number / 10, 1.0, 0.1, 0.1, 10)


@pytest.fixture
def records(tmp_path):
    records = Records(tmp_path / "trials.sqlite")
    yield records
    records.close()


class SpyAlgorithm(Algorithm):
    """Random search that remembers what it was told, and what ran when it was asked.

    Every choice depends on all of that, so that a replay in which anything were otherwise would be refused.
    """

    def __init__(self):
        self._random = random_search.make(random_search.Config(), SumSpace().num_choices, 0)
        self.calls, self.updates = [], []

    def suggest(self, count, running=()):
        self.calls.append(tuple(trial.id for trial in running))
        (drawn,) = self._random.suggest(1)
        shift = int(fingerprint([self.calls, self.updates]), 16)
        return [dataclasses.replace(drawn, tokens=tuple((token + shift) % 4 for token in drawn.tokens))]

    def update(self, trials):
        self.updates += [(trial.id, trial.reward) for trial in trials]


def search(
    records,
    answer=facts,
    num_trials=20,
    limits=None,
    reward=None,
    remeasured_share=0.0,
    workers=None,
    on_news=lambda: None,
    algorithm=None,
    num_workers=5,
    window=None,
    **options,
):
    workers, algorithm, seen = workers or ScriptedWorkers(answer, num_workers), algorithm or SpyAlgorithm(), []
    loop = Search(
        SumSpace(),
        algorithm,
        workers,
        records,
        reward or AccuracyReward(),
        limits or Limits(),
        "d-1",
        "proxy",
        seen.append,
        remeasured_share,
        window=window,
        on_news=on_news,
    )
    loop.run(num_trials, **options)
    return workers, algorithm, seen


def test_every_trial_is_judged_and_told_as_it_arrives(records):
    _, algorithm, seen = search(records)
    trials = records.trials()
    assert [trial.id for trial in trials] == list(range(1, 21))
    assert all(trial.reward == sum(trial.tokens) / 10 for trial in trials)
    arrived = [trial_id for trial_id, _ in algorithm.updates]
    assert sorted(arrived) == list(range(1, 21)) != arrived  # the latest job ends first
    assert algorithm.updates == [(each, trials[each - 1].reward) for each in arrived]
    assert algorithm.updates == [(trial.id, trial.reward) for trial in seen]


def test_a_suggestion_is_asked_for_when_a_worker_is_free_and_knows_what_runs(records):
    _, algorithm, _ = search(records)
    assert algorithm.calls[0] == () and max(map(len, algorithm.calls)) >= 4
    calls, running = iter(algorithm.calls), []
    for event, trial_id in records.events():
        if event == "asked":
            assert next(calls) == tuple(running)
            running.append(trial_id)
        else:
            running.remove(trial_id)
    assert not running and next(calls, None) is None


def test_news_are_told_of_once_the_next_trials_have_begun(records):
    """With these the files of the front are renewed."""
    seen = []

    def count():
        states = [trial.state for trial in records.trials()]
        seen.append((states.count("done"), states.count("running")))

    search(records, on_news=count)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (20, 0)
    assert all(running or len(records.trials()) == 20 for _, running in seen)


def test_an_algorithm_may_wait_for_what_runs(records):
    """As the controller does, which suggests whole batches."""

    batches = Batches()
    search(records, algorithm=batches)
    arrived = [trial_id for trial_id, _ in batches.updates]
    assert [sorted(arrived[i : i + 5]) for i in range(0, 20, 5)] == [list(range(i + 1, i + 6)) for i in range(0, 20, 5)]


def test_an_algorithm_that_waits_for_nothing_is_a_mistake(records):
    class Silent(SpyAlgorithm):
        def suggest(self, count, running=()):
            return []

    with pytest.raises(ValueError, match="Expected Silent to suggest something where no trial runs"):
        search(records, algorithm=Silent())


def test_an_architecture_is_measured_once(records):
    workers, _, _ = search(records)
    jobs = [(method, number) for _, method, number in workers.done]
    assert len(jobs) == len(set(jobs)) < 2 * 20  # sums run from 0 to 9: of 20 trials, at least 10 are repetitions


def test_a_stopped_search_goes_on_as_one_never_stopped(records, tmp_path):
    _, alone, _ = search(records, num_workers=1)
    other = Records(tmp_path / "other.sqlite")

    for jobs_before_the_stop in (3, 4, 0, 2, 3):
        left = iter(range(jobs_before_the_stop))

        def answer(method, number, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return facts(method, number)

        with pytest.raises(KeyboardInterrupt):
            search(other, answer, num_workers=1)
    _, resumed, _ = search(other, num_workers=1)
    assert resumed.updates == alone.updates
    assert other.trials() == records.trials()
    other.close()


def test_a_search_of_several_workers_that_is_stopped_replays_what_happened(records):
    """The order of arrival is recorded. The algorithm is asked for the same, knowing the same, as it was then."""
    before = None
    for jobs_before_the_stop in (3, 4, 0, 2, 2):
        left = iter(range(jobs_before_the_stop))

        def answer(method, number, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return facts(method, number)

        algorithm = SpyAlgorithm()
        with pytest.raises(KeyboardInterrupt):
            search(records, answer, algorithm=algorithm)
        if before:
            assert algorithm.updates[: len(before.updates)] == before.updates
            assert algorithm.calls[: len(before.calls)] == before.calls
        before = algorithm
    _, algorithm, _ = search(records)
    assert sorted(trial_id for trial_id, _ in algorithm.updates) == list(range(1, 21))
    assert all(trial.state == "done" for trial in records.trials())


class ShuffledWorkers(ScriptedWorkers):
    """Whose jobs end in an order of its own; every fifth is where the search is stopped."""

    def __init__(self, num_workers, seed, stops=False):
        super().__init__(facts, num_workers)
        self._rng, self._stops = np.random.default_rng(seed), stops

    def wait(self, timeout_seconds=None):
        if self._stops and self._rng.random() < 0.2:
            raise KeyboardInterrupt
        self._jobs.append(self._jobs.pop(self._rng.integers(len(self._jobs))))
        return super().wait()


class Batches(SpyAlgorithm):
    """Suggests five, and waits until none of them runs."""

    asked = 0

    def suggest(self, count, running=()):
        if running and self.asked % 5 == 0:
            return []
        self.asked += 1
        return super().suggest(count, running)


@pytest.mark.parametrize("algorithm", (SpyAlgorithm, Batches))
def test_with_a_window_the_trials_depend_on_measurements_alone(records, tmp_path, algorithm):
    """Whatever the number of workers, the order in which they end, and where it is stopped."""
    search(records, algorithm=algorithm(), workers=ShuffledWorkers(1, 0), window=4, num_trials=30)
    expected = records.trials()
    assert len(expected) == 30
    for seed, num_workers in enumerate((2, 4, 9, 3)):
        other = Records(tmp_path / f"{seed}.sqlite")
        num_stops = 0
        while True:
            try:
                workers = ShuffledWorkers(num_workers, (seed, num_stops), stops=seed > 1)
                # More trials may be asked for later: it had not been told of the last ones.
                search(other, algorithm=algorithm(), workers=workers, window=4, num_trials=20)
                search(other, algorithm=algorithm(), workers=workers, window=4, num_trials=30)
                break
            except KeyboardInterrupt:
                num_stops += 1
        assert other.trials() == expected and (num_stops > 0) == (seed > 1)
        other.close()


def test_with_a_window_only_what_is_too_old_is_told(records):
    spy = SpyAlgorithm()
    search(records, algorithm=spy, window=3, num_workers=9, num_trials=12)
    assert [len(running) for running in spy.calls] == [0, 1] + [2] * 10
    assert [trial_id for trial_id, _ in spy.updates] == list(range(1, 13))


def test_without_its_window_a_search_goes_on_as_they_arrive(records):
    search(records, window=3, num_trials=10)
    _, algorithm, _ = search(records, num_trials=20)
    assert sorted(trial_id for trial_id, _ in algorithm.updates) == list(range(1, 21))


def test_with_a_window_a_failed_trial_is_passed_over(records):
    failures = iter([EvaluationError("the phone is gone")] * 2)

    def answer(method, number):
        for failure in failures if method == "accuracy" and number == 5 else ():
            raise failure
        return facts(method, number)

    _, algorithm, _ = search(records, answer, window=3)
    (failed,) = [trial.id for trial in records.trials() if trial.state == "failed"]
    assert sorted([failed, *(trial_id for trial_id, _ in algorithm.updates)]) == list(range(1, 21))
    assert ("failed", failed) in records.events()


def test_a_run_of_an_earlier_version_goes_on(records):
    """It recorded no events: trials were asked for in batches, and told of in their order."""

    class Random(SpyAlgorithm):
        def suggest(self, count, running=()):
            return self._random.suggest(1)

    first = Random()
    search(records, num_trials=6, algorithm=first, num_workers=1)
    records._db.execute("DROP TABLE events")
    records._db.execute("UPDATE trials SET started_at = CASE WHEN id <= 3 THEN '1' ELSE '2' END")
    records._db.execute("UPDATE trials SET reward = NULL WHERE id = 5")
    again = Random()
    search(records, num_trials=8, algorithm=again, num_workers=1)
    before = [(event, trial_id) for event, trial_id in records.events() if trial_id <= 6]
    batches = [("asked", 1), ("asked", 2), ("asked", 3), ("told", 1), ("told", 2), ("told", 3)]
    batches += [("asked", 4), ("asked", 5), ("asked", 6), ("told", 4), ("told", 6)]
    assert before == [*batches, ("told", 5)]
    assert [trial_id for trial_id, _ in again.updates] == [1, 2, 3, 4, 6, 5, 7, 8]
    assert set(first.updates) < set(again.updates)


def test_an_infeasible_trial_earns_the_floor_of_the_reward(records):
    """The absolute reward of a slow network is below 0: so is what an infeasible one earns, and further."""

    def answer(method, number):
        if method == "accuracy" and number >= 6:
            raise InfeasibleArchitecture("diverged")
        return facts(method, number)

    search(records, answer, reward=LatencyReward(0.5, "absolute"))
    rewards = {state: [t.reward for t in records.trials() if t.state == state] for state in ("infeasible", "done")}
    assert rewards["infeasible"] and max(rewards["infeasible"]) < min(rewards["done"]) < 0


def noisy(method, number):
    """Another accuracy each time."""
    noisy.count += 1
    return (
        Trained(number / 10 + noisy.count * 1e-4, 1.0, 0.1, 0.1, 10) if method == "accuracy" else facts(method, number)
    )


noisy.count = 0


def test_one_in_ten_known_architectures_is_measured_anew(records, tmp_path):
    workers, _, _ = search(records, noisy, num_trials=60, remeasured_share=0.1)
    trials = records.trials()
    seen, duplicates = set(), []
    for trial in trials:
        if sum(trial.tokens) in seen:
            duplicates.append(trial.id)
        seen.add(sum(trial.tokens))
    # The first of them, so that the noise is known early, and then every tenth.
    anew = duplicates[::10]
    assert len(anew) >= 5 and sorted(trial_id for trial_id, _ in workers.repeats) == anew
    assert [again.id for _, again in repeated(trials)] == anew
    # Another seed each time; its cost is measured anew too.
    repeats = {}
    for trial_id, repeat in sorted(workers.repeats):
        number = sum(trials[trial_id - 1].tokens)
        assert repeat > repeats.get(number, 0)
        repeats[number] = repeat
    costs = [key[0] for key, method, _ in workers.done if method == "cost"]
    assert set(anew) <= set(costs)

    # Killed and resumed, the same trials are measured anew.
    other = Records(tmp_path / "other.sqlite")
    for num_trials in (7, 23, 60):
        search(other, noisy, num_trials=num_trials, remeasured_share=0.1)
    assert [again.id for _, again in repeated(other.trials())] == anew
    other.close()


def test_a_replay_compares_the_architectures_too(records):
    """A space whose file was edited gives the same tokens another meaning."""
    search(records, num_trials=5)
    records._db.execute("UPDATE trials SET fingerprint = 'another' WHERE id = 3")
    with pytest.raises(UserError, match="Trial 3 of this run folder is not what this search would try"):
        search(records, num_trials=5)


def test_the_file_alone_is_whole_every_few_seconds(records, tmp_path, monkeypatch):
    copies = []
    make_whole = records.make_whole

    def copy():
        make_whole()
        path = tmp_path / f"copy{len(copies)}.sqlite"
        path.write_bytes((tmp_path / "trials.sqlite").read_bytes())
        alone = Records(path)
        copies.append(sum(trial.state == "done" for trial in alone.trials()))
        alone.close()

    records.make_whole = copy
    monkeypatch.setattr("nas_tf.search.loop._WHOLE_SECONDS", 0.0)
    search(records, num_trials=15)
    records.make_whole = make_whole
    assert copies == sorted(copies) and len(copies) > 5 and copies[-1] == 15


def test_more_trials_continue_a_finished_search(records, tmp_path):
    _, whole, _ = search(records, num_trials=13, num_workers=1)
    other = Records(tmp_path / "other.sqlite")
    for num_trials in (2, 7, 13):
        _, parts, _ = search(other, num_trials=num_trials, num_workers=1)
    assert other.trials() == records.trials() and parts.updates == whole.updates
    other.close()


def test_records_of_another_search_are_refused(records):
    search(records, num_trials=5)
    records._db.execute("UPDATE trials SET tokens = '[3, 3, 3]' WHERE id = 2")
    with pytest.raises(UserError, match="Trial 2 of this run folder is not what this search would try"):
        search(records, num_trials=5)


def test_events_of_a_trial_that_is_not_there_are_refused(records):
    search(records, num_trials=5)
    records._db.execute("DELETE FROM measurements WHERE trial_id = 5")
    records._db.execute("DELETE FROM trials WHERE id = 5")
    with pytest.raises(UserError, match="Trial 5 of this run folder is not what this search would try"):
        search(records, num_trials=5)


def test_events_that_cannot_have_happened_are_refused(records):
    search(records, num_trials=5)
    records._db.execute("UPDATE events SET event = 'told' WHERE id = 1")
    with pytest.raises(UserError, match="table events, row 1: event is 'told', of trial 1"):
        search(records, num_trials=5)


def test_without_time_nothing_is_begun(records):
    def answer(method, number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(records, answer)
    workers, _, _ = search(records, out_of_time=lambda: True)
    assert not workers.done and not workers.num_pending


def test_an_infeasible_network_earns_nothing_and_is_told(records):
    def answer(method, number):
        if method == "accuracy" and number >= 4:
            raise InfeasibleArchitecture("diverged")
        return facts(method, number)

    _, algorithm, _ = search(records, answer)
    for trial in records.trials():
        assert (trial.state, trial.reward) == (
            ("infeasible", 0.0) if sum(trial.tokens) >= 4 else ("done", trial.reward)
        )
    assert len(algorithm.updates) == 20


def test_a_network_over_a_limit_is_not_trained(records):
    workers, _, _ = search(records, limits=Limits(max_num_params=401))
    assert {number for _, method, number in workers.done if method == "accuracy"} <= {0, 1, 2, 3, 4}
    infeasible = [trial for trial in records.trials() if sum(trial.tokens) > 4]
    assert infeasible and all(trial.infeasible.endswith("is over --max_num_params=401") for trial in infeasible)


def test_a_failure_is_tried_again_once(records):
    failures = []

    def answer(method, number):
        if method == "cost" and number not in failures:
            failures.append(number)
            raise EvaluationError("the phone was away")
        return facts(method, number)

    search(records, answer)
    assert failures and all(trial.state == "done" for trial in records.trials())


def test_a_failed_trial_is_recorded_and_not_told(records):
    def answer(method, number):
        if number == 5:
            raise EvaluationError("Traceback\nthe phone is gone")
        return facts(method, number)

    _, algorithm, _ = search(records, answer)
    failed = {trial.id for trial in records.trials() if trial.state == "failed"}
    assert failed == {trial.id for trial in records.trials() if sum(trial.tokens) == 5} and failed
    told = {trial_id for trial_id, _ in algorithm.updates}
    assert told == set(range(1, 21)) - failed


def test_a_failed_trial_that_is_tried_again_later_changes_nothing_else(records, tmp_path):
    """The algorithm has gone on without it, and is not told: the search goes on as it would have."""

    def answer(method, number):
        if number == 5:
            raise EvaluationError("the phone is gone")
        return facts(method, number)

    untouched = Records(tmp_path / "untouched.sqlite")
    search(records, answer, num_workers=1)
    search(untouched, answer, num_workers=1)
    failed = [trial.id for trial in records.trials() if trial.state == "failed"]
    records.retry(failed)
    assert failed and {trial.state for trial in records.trials() if trial.id in failed} == {"running"}
    _, algorithm, _ = search(records, num_trials=30, num_workers=1)
    _, expected, _ = search(untouched, num_trials=30, num_workers=1)
    again = [trial for trial in records.trials() if trial.id in failed]
    assert {(trial.state, trial.reward, trial.note) for trial in again} == {("done", 0.5, "random (tried again)")}
    assert algorithm.updates == expected.updates
    assert [trial.tokens for trial in records.trials()] == [trial.tokens for trial in untouched.trials()]
    untouched.close()


def test_three_failures_in_a_row_end_the_search_and_are_done_anew(records):
    def gone(method, number):
        raise EvaluationError("the phone is gone")

    with pytest.raises(
        EvaluationError, match=r"3 trials in a row failed .* the phone is gone\. Nothing finished is lost"
    ):
        search(records, gone)
    assert any(trial.state == "failed" for trial in records.trials())
    search(records)
    assert all(trial.state == "done" for trial in records.trials())


def test_a_mistake_of_the_users_ends_the_search(records):
    def answer(method, number):
        raise UserError("image 3 cannot be read")

    with pytest.raises(UserError, match="image 3"):
        search(records, answer)


def test_time_over_ends_the_search_and_more_time_goes_on(records, tmp_path):
    looks = iter([False] * 12 + [True] * 99)
    search(records, out_of_time=lambda: next(looks), num_workers=1)
    states = [trial.state for trial in records.trials()]
    assert 0 < states.count("done") < 20
    _, resumed, _ = search(records, num_workers=1)
    other = Records(tmp_path / "other.sqlite")
    _, alone, _ = search(other, num_workers=1)
    assert resumed.updates == alone.updates
    other.close()


def test_what_goes_on_when_time_is_over_has_a_minute_more(records, tmp_path, monkeypatch):
    """Time is over after 10 s: of the three that take longer, one is done after 69 s, and two are not after 70 s."""
    workers = SlowWorkers([5.0, 69.0, 75.0, float("inf")])
    clock = types.SimpleNamespace(monotonic=lambda: workers.now, perf_counter=lambda: workers.now)
    monkeypatch.setattr("nas_tf.search.loop.time", clock)
    search(records, workers=workers, out_of_time=lambda: workers.now >= 10.0)
    assert workers.closed_at == 70.0
    trials = records.trials()
    waiting = [trial for trial in trials if trial.state == "running"]
    assert len({sum(trial.tokens) for trial in waiting}) == 2
    _, resumed, _ = search(records)
    assert len(resumed.updates) == 20 and all(trial.state == "done" for trial in records.trials())


def test_warm_started_trials_are_told_first_and_not_counted(records):
    from nas_tf.trial import Measurement

    for i, tokens in enumerate([(0, 0, 1), (3, 3, 3)], 1):
        measurement = Measurement(sum(tokens) / 10, facts("cost", sum(tokens)), 1.0)
        trial = Trial(i, tokens, f"warm start: old trial {i}", measurement, 0.5)
        records.add_finished(trial, Net(sum(tokens)), "d-1", "proxy")
    workers, algorithm, _ = search(records, num_trials=5, reward=LatencyReward(3.0))
    assert algorithm.updates[:2] == [(1, 0.5), (2, 0.5)]
    assert len(records.trials()) == 7
    assert not {1, 9} & {number for _, _, number in workers.done}
