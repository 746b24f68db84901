"""The controller: its terms against arithmetic, its graph against its own sampling, its learning against chance."""

import dataclasses
import math

import numpy as np
import pytest

from nas_tf.algorithms import Problem, ppo
from nas_tf.algorithms import _policy_gradient as terms
from nas_tf.trial import Trial, UserError

NUM_CHOICES = (3, 1, 4, 2)


@pytest.fixture(scope="module")
def shared():
    """A controller for tests that change nothing but its random state."""
    return ppo.make(ppo.Config(), NUM_CHOICES, seed=0)


def as_trials(tokens, rewards):
    pairs = zip(tokens, rewards)
    return [Trial(i, tuple(map(int, row)), reward=float(reward)) for i, (row, reward) in enumerate(pairs)]


def weights(algorithm):
    return [np.array(weight) for weight in algorithm._model.get_weights()]


def array(*values):
    return np.array(values, "float32")


def test_ratio():
    # A probability that went from 1/2 to 3/4, and one from 1/2 to 1/4.
    found = terms.ratio(np.log(array(0.75, 0.25)), np.log(array(0.5, 0.5)))
    np.testing.assert_allclose(found, [1.5, 0.5], rtol=1e-6)  # float32 rounding


def test_clipped_surrogate():
    # With e = 0.2: a good token's ratio counts up to 1.2, a bad token's from 0.8; beyond, on the wrong side, in full.
    found = terms.clipped_surrogate(array(1.5, 1.1, 0.5, 1.5, 0.9, 0.5), array(2, 2, 2, -2, -2, -2), 0.2)
    np.testing.assert_allclose(found, [2.4, 2.2, 1.0, -3.0, -1.8, -1.6], rtol=1e-6)


def test_policy_gradient():
    np.testing.assert_allclose(terms.policy_gradient(array(-0.5, -2), array(3, -1)), [-1.5, 2.0])


def test_entropy():
    # H(1/2, 1/4, 1/4) = 1.5 bits; H(1/3, 1/3, 1/3) = ln 3.
    found = terms.entropy(np.log(np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]], "float32")))
    np.testing.assert_allclose(found, [1.5 * math.log(2), math.log(3)], rtol=1e-6)


def test_advantage():
    np.testing.assert_allclose(terms.advantage([0.9, 0.5], baseline=0.6, normalize=False), [0.3, -0.1])
    # Mean 3, deviation sqrt((4 + 0 + 4) / 3); the baseline cancels out.
    expected = np.array([-2, 0, 2]) / math.sqrt(8 / 3)
    for baseline in (0, 10):
        np.testing.assert_allclose(terms.advantage([1, 3, 5], baseline, normalize=True), expected, rtol=1e-7)
    np.testing.assert_allclose(terms.advantage([0.7, 0.7, 0.7], baseline=0.1, normalize=True), [0, 0, 0], atol=1e-6)


def test_moving_average():
    assert terms.moving_average(None, [0.2, 0.4], 0.95) == pytest.approx(0.3)
    assert terms.moving_average(0.5, [0.2, 0.4], 0.95) == pytest.approx(0.95 * 0.5 + 0.05 * 0.3)


def test_loss_adds_up_the_terms():
    # Two decisions, A = 2: ratios 1.5 (clipped to 1.2) and 0.5, entropies 1 and 3 at weight 0.1.
    targets = np.array([[[math.log(0.5), 2], [math.log(0.5), 2]]], "float32")
    scores = np.array([[[math.log(0.75), 1], [math.log(0.25), 3]]], "float32")
    loss = terms.loss_function("ppo", 0.2, 0.1)(targets, scores)
    np.testing.assert_allclose(loss, [-(2.4 + 1.0 + 0.1 * 4)], rtol=1e-6)
    loss = terms.loss_function("reinforce", 0.2, 0.1)(targets, scores)
    np.testing.assert_allclose(loss, [-(2 * math.log(0.75 * 0.25) + 0.1 * 4)], rtol=1e-6)


def take_for_own(algorithm, tokens):
    """Has a controller take tokens for some that it has drawn from its policy as it is."""
    for each, log_probs in zip(tokens, algorithm.unroll(len(tokens), np.array(tokens)).log_probs):
        algorithm._suggested[each].append(log_probs)


@pytest.mark.parametrize("method", ("ppo", "reinforce"))
def test_first_step_follows_the_softmax_gradient(method):
    """At unchanged weights both losses have REINFORCE's gradient: d loss / d bias = mean of A (p - one_hot(token))."""
    config = ppo.Config(
        method=method, entropy_weight=0.0, batch_size=2, normalize_advantage=False, inner_epochs=1, elites=0
    )
    algorithm = ppo.make(config, (3,), seed=0)
    # One decision whose logits are its bias: p = (1/2, 1/4, 1/4).
    bias = np.log(array(0.5, 0.25, 0.25))
    algorithm._model.set_weights([np.zeros_like(w) for w in weights(algorithm)[:-1]] + [bias])
    # Rewards 1 and 0 about their mean: A = 1/2 for token 0, -1/2 for token 2.
    take_for_own(algorithm, [(0,), (2,)])
    algorithm.update(as_trials([[0], [2]], [1, 0]))
    p = np.array([0.5, 0.25, 0.25])
    gradient = (0.5 * (p - [1, 0, 0]) - 0.5 * (p - [0, 0, 1])) / 2
    # Adam's first momentum is 0.1 of the gradient; the tolerance is float32's rounding of the logarithms.
    momentum = next(v for v in algorithm._model.optimizer.variables if v.path.endswith("decision_0_bias_momentum"))
    np.testing.assert_allclose(np.array(momentum), 0.1 * gradient, atol=1e-7)


def test_initial_weights_are_uniform_and_complete(shared):
    flat = np.concatenate([weight.ravel() for weight in weights(shared)])
    # Embedding, start row included; LSTM: 4 x 100 gates, each of 100 inputs, 100 states and a bias; softmaxes.
    assert flat.size == (1 + 10) * 100 + 400 * (100 + 100 + 1) + 10 * (100 + 1)
    assert np.abs(flat).max() <= 0.1
    # Of 82,510 uniform draws the mean's standard error is 0.0002, the deviation's 0.0001: six of each.
    assert abs(flat.mean()) < 0.0012 and abs(flat.std() - 0.1 / math.sqrt(3)) < 0.0006


def test_sampling_and_scoring_agree(shared):
    sampled = shared.unroll(25)
    scored = shared.unroll(25, sampled.tokens)
    np.testing.assert_array_equal(scored.tokens, sampled.tokens)
    np.testing.assert_array_equal(scored.log_probs, sampled.log_probs)
    np.testing.assert_array_equal(scored.entropies, sampled.entropies)
    np.testing.assert_allclose(sampled.log_probs[:, 1], 0, atol=1e-7)  # one choice


def test_scores_are_a_distribution(shared):
    every = np.array(list(np.ndindex(NUM_CHOICES)))
    total = np.exp(shared.unroll(len(every), every).log_probs.sum(axis=1)).sum()
    assert total == pytest.approx(1, abs=1e-5)  # 24 float32 terms


def test_samples_follow_the_scores(shared):
    every = np.array(list(np.ndindex(NUM_CHOICES)))
    expected = np.exp(shared.unroll(len(every), every).log_probs.sum(axis=1))
    sampled = shared.unroll(4000).tokens
    counts = np.array([(sampled == row).all(axis=1).sum() for row in every])
    chi_squared = ((counts - 4000 * expected) ** 2 / (4000 * expected)).sum()
    assert chi_squared < 65  # 23 degrees of freedom: exceeded by chance once in 140,000 seeds


def test_suggestions_do_not_depend_on_how_many_are_asked_for_at_a_time():
    one, other = (ppo.make(ppo.Config(), NUM_CHOICES, seed=3) for _ in range(2))
    assert one.suggest(12) == other.suggest(5) + other.suggest(7)


def test_untrained_until_the_first_update():
    algorithm = ppo.make(ppo.Config(), NUM_CHOICES, seed=0)
    suggestions = algorithm.suggest(10)
    assert {suggestion.note for suggestion in suggestions} == {"untrained"}
    algorithm.update([])
    algorithm.update([Trial(i, each.tokens, each.note, reward=0.1 * i) for i, each in enumerate(suggestions)])
    assert algorithm.suggest(1)[0].note == ""


def own_trials(algorithm, rewards):
    """Finished trials of its next suggestions."""
    return [
        Trial(i, each.tokens, each.note, reward=reward)
        for i, (each, reward) in enumerate(zip(algorithm.suggest(len(rewards)), rewards))
    ]


def test_it_waits_for_its_batch_and_learns_in_the_order_of_suggestion():
    """Whatever arrives first: what it does depends on the measurements alone."""
    found = []
    for order in (range(10), [3, 9, 1, 0, 2, 8, 7, 4, 6, 5]):
        algorithm = ppo.make(ppo.Config(), NUM_CHOICES, seed=0)
        trials = own_trials(algorithm, np.linspace(0, 1, 10))
        for done, i in enumerate(order):
            running = [trials[j] for j in list(order)[done:]]
            assert algorithm.suggest(1, running) == [] and not algorithm._updates
            algorithm.update([trials[i]])
        assert algorithm._updates == 1
        found.append([w.tolist() for w in weights(algorithm)])
    assert found[0] == found[1]


def test_a_failed_trial_does_not_hold_up_its_batch():
    algorithm = ppo.make(ppo.Config(), NUM_CHOICES, seed=0)
    trials = own_trials(algorithm, np.linspace(0, 1, 10))
    algorithm.update(trials[:9])
    assert algorithm.suggest(1, [trials[9]]) == [] and algorithm._updates == 0
    assert algorithm.suggest(1, [])[0].note == "" and algorithm._updates == 1


def test_trials_that_are_not_its_own_are_imitated_alone():
    """Of a warm start the policy is not known: what is bad there is not made less likely, as it is in a batch."""
    for is_own in (True, False):
        algorithm = ppo.make(ppo.Config(preset="paper", learning_rate=0.01), (4,), seed=0)
        tokens = [(0,)] * 10 + [(1,)] * 10
        before = np.exp(algorithm.unroll(4, np.arange(4)[:, None]).log_probs[:, 0])
        if is_own:
            take_for_own(algorithm, tokens)
        algorithm.update([Trial(i, each, reward=1.0 - each[0]) for i, each in enumerate(tokens)])
        after = np.exp(algorithm.unroll(4, np.arange(4)[:, None]).log_probs[:, 0])
        change = after - before
        assert change[0] > 0.01 and change[1] < 0
        # By imitation, what has not paid loses no more than what was not tried.
        assert (change[1] < 1.5 * change[2]) == is_own
        assert (algorithm._updates == 1) == is_own == bool(algorithm.diagnostics)


def test_diagnostics_say_how_far_an_update_went():
    still = ppo.make(ppo.Config(learning_rate=1e-9), NUM_CHOICES, seed=0)
    far = ppo.make(ppo.Config(learning_rate=0.1), NUM_CHOICES, seed=0)
    for algorithm in (still, far):
        algorithm.update(own_trials(algorithm, np.linspace(0, 1, 10)))
    assert (
        still.diagnostics["ppo/approximate_kl"] == pytest.approx(0, abs=1e-5) == still.diagnostics["ppo/clip_fraction"]
    )
    assert far.diagnostics["ppo/approximate_kl"] > 0.1 and far.diagnostics["ppo/clip_fraction"] > 0.1
    # One baseline explains nothing within one batch.
    assert far.diagnostics["ppo/explained_variance"] == pytest.approx(0, abs=1e-6)


def test_a_prior_of_the_space_is_what_an_untrained_controller_suggests():
    prior = ((0.1, 1, 1), (1, 1))
    algorithm = ppo.make(ppo.Config(prior="space"), (3, 2), 0, problem=Problem(prior=prior))
    tokens = np.array([(0, 0), (1, 0), (2, 0)])
    probabilities = np.exp(algorithm.unroll(3, tokens).log_probs)
    assert probabilities[:, 0] == pytest.approx([0.1 / 2.1, 1 / 2.1, 1 / 2.1], rel=0.2)
    assert ppo.make(ppo.Config(), (3, 2), 0, problem=Problem(prior=prior)).unroll(3, tokens).log_probs[
        0, 0
    ] == pytest.approx(np.log(1 / 3), abs=0.3)


def test_padding_changes_nothing():
    """Three trials teach a controller with batches of 10 what they teach one with batches of 3."""
    tokens, rewards = [[0, 0, 1, 1], [2, 0, 3, 0], [1, 0, 0, 1]], [0.2, 0.9, 0.4]
    full, padded = (ppo.make(ppo.Config(batch_size=size), NUM_CHOICES, seed=0) for size in (3, 10))
    for algorithm in (full, padded):
        algorithm.update(as_trials(tokens, rewards))
    # Five steps of Adam at 0.003; sums of another shape round differently in float32.
    for one, other in zip(weights(full), weights(padded)):
        np.testing.assert_allclose(one, other, atol=1e-4)
    moved = max(np.abs(a - b).max() for a, b in zip(weights(full), weights(ppo.make(ppo.Config(), NUM_CHOICES, 0))))
    assert moved > 1e-3


def test_a_warm_start_is_learned_in_batches_in_the_order_given():
    tokens, rewards = np.random.default_rng(0).integers(NUM_CHOICES, size=(25, 4)), np.linspace(0.3, 0.8, 25)
    trials = as_trials(tokens, rewards)
    at_once, in_parts = (ppo.make(ppo.Config(), NUM_CHOICES, seed=0) for _ in range(2))
    at_once.update(trials)
    for part in (trials[:10], trials[10:20], trials[20:]):
        in_parts.update(part)
    assert at_once.suggest(10) == in_parts.suggest(10)
    for one, other in zip(weights(at_once), weights(in_parts)):
        np.testing.assert_array_equal(one, other)


NUM_DECISIONS, CHOICES, NUM_TRIALS = 10, 4, 200
TARGET = (2, 0, 3, 1, 1, 0, 2, 3, 0, 1)


def share_of_targets(tokens):
    return np.mean(np.array(tokens) == TARGET)


def share_of_successors(tokens):
    """How many tokens are the one before plus 1 (mod 4): an answer is right only beside its neighbour's."""
    tokens = np.array(tokens)
    return np.mean(tokens[1:] == (tokens[:-1] + 1) % CHOICES)


def rewards_of_a_search(config, reward, num_trials):
    """float [trials], in order."""
    algorithm = ppo.make(config, (CHOICES,) * NUM_DECISIONS, seed=0)
    rewards = []
    while len(rewards) < num_trials:
        tokens = [suggestion.tokens for suggestion in algorithm.suggest(algorithm.batch_size)]
        batch = [reward(each) for each in tokens]
        algorithm.update(as_trials(tokens, batch))
        rewards += batch
    return rewards


def binomial_tail(n, k, p):
    """P(at least k of n), each with probability p."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


# REINFORCE takes one step where PPO takes five. Alone, without what the preset adds, they learn it too.
@pytest.mark.parametrize(
    "config",
    [
        ppo.Config(),
        ppo.Config(new_only=False, elites=0),
        ppo.Config(method="reinforce", learning_rate=0.01, new_only=False, elites=0),
    ],
    ids=("preset", "ppo", "reinforce"),
)
def test_solves_a_bandit_that_random_search_does_not(config):
    """The optimum, 1, is one of 4^10 strings: 200 random draws hold it with probability 0.0002, the false-alarm rate.

    A last batch of 10 random architectures has 70 of 100 targets with a probability below 1e-19. The preset tries no
    architecture twice, so that its last batch is not the best one 10 times.
    """
    assert 1 - (1 - CHOICES**-NUM_DECISIONS) ** NUM_TRIALS < 2e-4
    assert binomial_tail(10 * NUM_DECISIONS, 70, 1 / CHOICES) < 1e-19
    rewards = rewards_of_a_search(config, share_of_targets, NUM_TRIALS)
    assert max(rewards) == 1
    assert np.mean(rewards[-10:]) >= (0.7 if config.resolved().new_only else 0.8)


def test_the_preset_draws_what_is_new_as_long_as_there_is_any():
    """All 12 architectures, and only then some again; `canonical` says which are the same."""
    problem = Problem(canonical=lambda tokens: (tokens[0], 0) if tokens[0] == 2 else tokens)
    algorithm = ppo.make(ppo.Config(batch_size=5, lstm_units=4, embedding_size=4), (3, 5), 0, problem)
    tried = []
    for _ in range(3):
        tokens = [suggestion.tokens for suggestion in algorithm.suggest(5)]
        algorithm.update(as_trials(tokens, [float(each[0] == 0) for each in tokens]))
        tried += [problem.canonical(each) for each in tokens]
    assert len(set(tried[:10])) == 10 and len(set(tried)) == 11 and len(tried) == 15


def test_without_waiting_it_learns_from_what_an_older_policy_drew():
    """It goes on while a batch runs, and the ratios of its trials are to the policy that each was drawn from."""
    config = ppo.Config(batch_size=4, inner_epochs=1, normalize_advantage=False, elites=0, new_only=False)
    algorithm = ppo.make(config, (9, 9, 9), 0, Problem(waits=False))
    drawn = [suggestion.tokens for suggestion in algorithm.suggest(6)]
    running = [Trial(0, drawn[0])]
    assert len(drawn) == 6 and len(algorithm.suggest(2, running)) == 2  # of three batches, none of which has ended
    old = algorithm.unroll(6, np.array(drawn)).log_probs
    algorithm.update(as_trials(drawn[2:6], [1.0, 0.0, 0.0, 0.0]))
    assert algorithm._updates == 1
    np.testing.assert_array_equal([algorithm._suggested[each][0] for each in drawn[:2]], old[:2])
    now = algorithm.unroll(6, np.array(drawn)).log_probs
    assert np.abs(now - old).max() > 1e-4  # so what is left of the first batch was drawn from an older policy
    used = []
    algorithm._update_batch = lambda tokens, rewards, log_probs: used.append(log_probs)
    algorithm._arrived = []
    later = [suggestion.tokens for suggestion in algorithm.suggest(2)]
    algorithm.update(as_trials([*drawn[:2], *later], [1.0, 0.0, 0.0, 0.0]))
    np.testing.assert_array_equal(used[0][:2], old[:2])


def test_elites_are_imitated():
    """After a first batch with one good architecture, batches without it do not make it less likely."""
    likely = {}
    for elites in (0, 2):
        config = ppo.Config(batch_size=4, lstm_units=8, embedding_size=8, elites=elites, entropy_weight=0.0)
        algorithm = ppo.make(config, (4, 4, 4), 0)
        algorithm.suggest(4)
        good, others = (1, 2, 3), [(0, 0, 0), (2, 1, 0), (3, 3, 1)]
        take_for_own(algorithm, [good, *others])
        algorithm._to_come, algorithm._arrived = [], []
        algorithm.update(as_trials([good, *others], [1.0, 0.1, 0.2, 0.1]))
        for _ in range(5):
            tokens = [each.tokens for each in algorithm.suggest(4)]
            algorithm.update(as_trials(tokens, [0.3 + 0.1 * (each[0] == 0) for each in tokens]))
        likely[elites] = algorithm.unroll(1, np.array([good])).log_probs.sum()
    assert likely[2] > likely[0] + 0.5


def test_learns_answers_that_depend_on_the_answer_before():
    """Independent uniform answers have 54 of a batch's 90 neighbours right with a probability below 3e-12."""
    assert binomial_tail(10 * (NUM_DECISIONS - 1), 54, 1 / CHOICES) < 3e-12
    assert np.mean(rewards_of_a_search(ppo.Config(), share_of_successors, 300)[-10:]) >= 0.6


def test_presets():
    paper = ppo.Config(preset="paper").resolved()
    assert (paper.learning_rate, paper.entropy_weight, paper.baseline_decay) == (3.5e-4, 1e-5, 0.95)
    assert (paper.batch_size, paper.lstm_units, paper.normalize_advantage) == (20, 100, False)
    assert ppo.Config(preset="paper", batch_size=5).resolved().batch_size == 5
    assert None not in dataclasses.asdict(ppo.Config().resolved()).values()


@pytest.mark.parametrize(
    "setting,value,expected",
    [
        ("batch_size", 0, "at least 1"),
        ("inner_epochs", 0, "at least 1"),
        ("lstm_units", 0, "at least 1"),
        ("learning_rate", 0.0, "learning_rate to be above 0"),
        ("learning_rate", math.nan, "learning_rate to be a finite number"),
        ("clip_range", -0.2, "clip_range to be above 0"),
        ("entropy_weight", -1.0, "entropy_weight to be at least 0"),
        ("baseline_decay", 1.0, "baseline_decay to be at least 0 and below 1"),
        ("batch_size", 1, "normalize_advantage=False"),
    ],
)
def test_refused_settings(setting, value, expected):
    with pytest.raises(UserError, match=rf"xpected .*{expected}.*Received: .*{value}"):
        ppo.Config(**{setting: value})


def test_refused_trials(shared):
    untouched = weights(shared)
    for tokens in ((0, 0, 0), (0, 1, 0, 0), (0, 0, 0, -1)):
        with pytest.raises(UserError, match=r"one token for each of 4 decisions, each below \(3, 1, 4, 2\).*trial 7"):
            shared.update([Trial(7, tokens, reward=0.5)])
    for reward in (None, math.nan, math.inf):
        with pytest.raises(UserError, match=rf"a finite reward\. Received: trial 7, reward={reward}"):
            shared.update([Trial(7, (0, 0, 0, 0), reward=reward)])
    for before, after in zip(untouched, weights(shared)):
        np.testing.assert_array_equal(before, after)
