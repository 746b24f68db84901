"""The controller of NASNet and MnasNet: an LSTM that answers the decisions in turn, trained by PPO or REINFORCE.

It has one layer of 100 units, one softmax for each decision, and the embedding of the previous token as its input. All
weights begin uniform in +-0.1 (NASNet, appendix A; MnasNet uses the same). The same function samples architectures and
scores given ones.
"""

import collections
import dataclasses
import math

import numpy as np

from nas_tf import algorithms
from nas_tf.algorithms import _policy_gradient
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion, UserError

PRESETS = {
    "paper": {
        "batch_size": 20,
        "learning_rate": 3.5e-4,
        "entropy_weight": 1e-5,
        "baseline_decay": 0.95,
        "normalize_advantage": False,
        "inner_epochs": 5,
        "new_only": False,
        "elites": 0,
    },
    "small_budget": {
        "batch_size": 10,
        "learning_rate": 3e-3,
        "entropy_weight": 0.05,
        "baseline_decay": 0.95,
        "normalize_advantage": True,
        "inner_epochs": 5,
        "new_only": True,
        "elites": 5,
    },
}
INITIAL_WEIGHT = 0.1
_JUDGED = 10  # batches over which the baseline is judged
_TRIES, _HOTTER = 20, 1.15  # to draw what is new
SAMPLE = -1


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of the controller and its training. One that is None has the value of `preset`.

    `paper` holds the values of NASNet's appendix A. They are meant for thousands of trials: for the first hundred the
    controller is random search in effect. `small_budget` is meant for tens to hundreds of trials. Half the batch means
    twice the updates, and the learning rate is 9 times as high. Advantages are normalised, because the accuracies of
    good architectures differ by a percent or less; the entropy weight fits advantages of size 1. A policy that has
    narrowed down draws what is known already: so it draws until something is new, and imitates the best trials beside
    its own, lest it forgets them. benchmarks/search_quality.py compares it with others.

    Neither paper states three of the settings. `clip_range` is 0.2, the best in table 1 of the PPO paper.
    `inner_epochs` is 5, as in NNI, between the PPO paper's 3 (Atari) and 10 (MuJoCo). `embedding_size` is the size of
    the LSTM, as in ENAS.
    """

    preset: str = knob(
        "small_budget",
        "Values of the settings that are not given: tuned for tens to hundreds of trials, or NASNet's own.",
        choices=tuple(PRESETS),
    )
    method: str = knob(
        "ppo", "Policy gradient: clipped, or plain with one step for each batch.", choices=("ppo", "reinforce")
    )
    batch_size: int | None = knob(None, "Architectures in an update. small_budget 10, paper 20.", least=1)
    learning_rate: float | None = knob(None, "Adam's learning rate. small_budget 0.003, paper 0.00035.", above=0)
    entropy_weight: float | None = knob(None, "Weight of the entropy bonus. small_budget 0.05, paper 0.00001.", least=0)
    baseline_decay: float | None = knob(
        None, "Decay of the baseline, a moving average of the rewards. Both presets 0.95.", least=0, below=1
    )
    normalize_advantage: bool | None = knob(
        None,
        "Shift and scale the advantages of a batch to mean 0 and standard deviation 1; the baseline then cancels out. "
        "small_budget yes, paper no.",
    )
    inner_epochs: int | None = knob(
        None, "PPO's gradient steps on one batch; REINFORCE takes one. Both presets 5.", least=1
    )
    new_only: bool | None = knob(
        None,
        "Draw again, ever more evenly, what was tried before, as long as something new comes of it. small_budget yes, "
        "paper no.",
    )
    elites: int | None = knob(
        None, "Best trials so far that each update imitates, too. small_budget 5, paper 0.", least=0
    )
    clip_range: float = knob(0.2, "PPO keeps the probability ratio of a token within 1 +- this.", above=0)
    prior: str = knob(
        "uniform",
        "What the controller suggests before it has learned: each choice alike, or what the search space says is "
        "sensible.",
        choices=("uniform", "space"),
    )
    lstm_units: int = knob(100, "Units of the controller's LSTM.", least=1)
    embedding_size: int = knob(100, "Size of the embedding of the previous token.", least=1)

    def __post_init__(self):
        super().__post_init__()
        if self._value("batch_size") == 1 and self._value("normalize_advantage"):
            raise UserError(
                "A batch of 1 has no deviation to normalize by. Expected a batch size of at least 2, or "
                "normalize_advantage=False. Received: batch_size=1"
            )

    def resolved(self):
        """Returns these settings with the preset's value for each one that is None."""
        return dataclasses.replace(self, **{name: self._value(name) for name in PRESETS[self.preset]})

    def _value(self, name):
        given = getattr(self, name)
        return PRESETS[self.preset][name] if given is None else given


def make(config, num_choices, seed, problem=algorithms.Problem()):  # noqa: B008  it is frozen
    """Returns the `PPO` over `num_choices`, a tuple of how many choices each decision has."""
    return PPO(config.resolved(), tuple(num_choices), seed, problem)


def build_controller(num_choices, batch_size, lstm_units, embedding_size):
    """Builds the controller as a functional `keras.Model` of fixed batch size.

    Its inputs are tokens, int32 [batch, decisions], and noise, float32 [batch, decisions, max choices]. A token
    `SAMPLE` asks for a sample: with Gumbel noise the largest `logit + noise` is a sample of the softmax.

    Its outputs are `tokens`, int32 [batch, decisions], given or sampled, and `scores`, float32 [batch, decisions, 2]:
    the log-probability of each token and the entropy of its softmax.

    Args:
        num_choices: tuple of how many choices each decision has.
        batch_size: architectures in a batch.
        lstm_units: units of the LSTM.
        embedding_size: size of the embedding of the previous token.
    """
    import keras
    from keras import ops

    given = keras.Input(batch_shape=(batch_size, len(num_choices)), dtype="int32", name="tokens")
    noise = keras.Input(batch_shape=(batch_size, len(num_choices), max(num_choices)), name="noise")
    # Row 0 is the input of the first decision. Behind it there is one row for each choice of each decision.
    embedding = keras.layers.Embedding(1 + sum(num_choices), embedding_size, name="embedding")
    cell = keras.layers.LSTMCell(lstm_units, name="lstm")

    # The first row is made from an input: otherwise Keras takes the first step for a constant, without its weights.
    first_row, row = 1, ops.zeros_like(given[:, 0])
    states = [ops.zeros((batch_size, lstm_units)), ops.zeros((batch_size, lstm_units))]
    tokens, scores = [], []
    for i, choices in enumerate(num_choices):
        output, states = cell(embedding(row), states)
        logits = keras.layers.Dense(choices, name=f"decision_{i}")(output)
        sampled = ops.cast(ops.argmax(logits + noise[:, i, :choices], axis=-1), "int32")
        token = ops.where(ops.equal(given[:, i], SAMPLE), sampled, given[:, i])
        log_softmax = ops.log_softmax(logits)
        log_prob = ops.sum(log_softmax * ops.one_hot(token, choices), axis=-1)
        tokens.append(token)
        scores.append(ops.stack([log_prob, _policy_gradient.entropy(log_softmax)], axis=-1))
        row, first_row = first_row + token, first_row + choices
    outputs = {"tokens": ops.stack(tokens, axis=1), "scores": ops.stack(scores, axis=1)}
    return keras.Model([given, noise], outputs, name="controller")


Rollout = collections.namedtuple("Rollout", ("tokens", "log_probs", "entropies"))


class PPO(algorithms.Algorithm):
    """The controller and its training. NumPy's generator samples, so samples do not depend on Keras's backend.

    It suggests whole batches, each drawn from one policy, and waits until nothing of a batch runs. Then it learns from
    the batch in the order in which it was suggested, whatever the order of arrival: what it does depends on the
    recorded measurements alone. Where it does not wait (`nas_tf.algorithms.Problem.waits`), a batch is whatever has
    arrived, and some of it was drawn from an older policy. PPO's ratios are those of the policy as it is to the one
    that a trial was drawn from, and the clipping takes no gradient from a trial that lies too far behind.

    Other trials, of a warm start, long after their batch or the best ones so far, were not drawn from its policy. From
    these it learns by imitation alone: advantages below 0 count as 0 (Oh et al., arXiv 1806.05635).
    """

    def __init__(self, config, num_choices, seed, problem):
        keras = import_keras()
        self._config = config
        self._num_choices, self._canonical, self._waits = num_choices, problem.canonical, problem.waits
        self._known = {}  # trials, by canonical tokens
        self._rng = np.random.default_rng(seed)
        self._baseline = None
        self._updates = 0
        self._to_come, self._arrived = [], []  # of the batch that is under way
        self._suggested = collections.defaultdict(list)  # by tokens: log-probabilities of each that was suggested
        self._judged = collections.deque(maxlen=_JUDGED * config.batch_size)  # rewards, and the baseline at that time
        self._model = build_controller(num_choices, config.batch_size, config.lstm_units, config.embedding_size)
        self._model.compile(
            optimizer=keras.optimizers.Adam(config.learning_rate),
            loss={"scores": _policy_gradient.loss_function(config.method, config.clip_range, config.entropy_weight)},
            # TensorFlow's kernels beat XLA on the CPU; JAX has only XLA.
            jit_compile=keras.backend.backend() == "jax",
        )
        self._model.optimizer.build(self._model.trainable_variables)
        self._model.set_weights(
            [self._rng.uniform(-INITIAL_WEIGHT, INITIAL_WEIGHT, w.shape) for w in self._model.get_weights()]
        )
        if config.prior == "space" and problem.prior is not None:
            for i, weights in enumerate(problem.prior):
                bias = self._model.get_layer(f"decision_{i}").bias
                bias.assign_add(np.log(np.asarray(weights) / np.mean(weights)))

    @property
    def batch_size(self):
        """int: suggestions in one update."""
        return self._config.batch_size

    def suggest(self, count, running=()):
        found = []
        while len(found) < count:
            if not self._to_come:
                if self._waits and (running or found):
                    break
                if self._waits:
                    self._end_batch()  # something of it has failed
                    self._suggested.clear()
                drawn = self._drawn()
                log_probs = self.unroll(len(drawn), np.array(drawn)).log_probs
                self._to_come = list(zip(drawn, log_probs))
            tokens, log_probs = self._to_come.pop(0)
            self._suggested[tokens].append(log_probs)
            found.append(Suggestion(tokens, "" if self._updates else "untrained"))
        return found

    def _drawn(self):
        """Returns the tokens of a batch; if only new ones are wanted, in each try at a higher temperature."""
        found = {}
        for number in range(_TRIES if self._config.new_only else 1):
            drawn = [tuple(row) for row in self.unroll(self.batch_size, temperature=_HOTTER**number).tokens.tolist()]
            if not self._config.new_only:
                return drawn
            for tokens in drawn:
                if self._canonical(tokens) not in self._known and not self._suggested.get(tokens):
                    found.setdefault(self._canonical(tokens), tokens)
            if len(found) >= self.batch_size:
                break
        return [*found.values(), *drawn][: self.batch_size]

    def update(self, trials):
        for trial in trials:
            self._known.setdefault(self._canonical(trial.tokens), trial)
        others = []
        for trial in trials:
            if self._suggested.get(trial.tokens):
                self._arrived.append((trial, self._suggested[trial.tokens].pop(0)))
            else:
                others.append(trial)
        self._imitate(others)
        if len(self._arrived) == self.batch_size:
            self._end_batch()

    def _end_batch(self):
        batch, self._arrived = sorted(self._arrived, key=lambda each: each[0].id), []
        if batch:
            elites = sorted(self._known.values(), key=lambda trial: -trial.reward)[: self._config.elites]
            trials, log_probs = zip(*batch)
            self._update_batch(*self._checked(trials), np.array(log_probs))
            self._imitate(elites)

    def _imitate(self, trials):
        """Learns from trials that were not drawn from the policy as it is."""
        for start in range(0, len(trials), self.batch_size):
            self._update_batch(*self._checked(trials[start : start + self.batch_size]))

    def unroll(self, count, tokens=None, temperature=1.0):
        """Samples architectures, or scores given ones.

        Args:
            count: how many.
            temperature: by which logits are divided when architectures are sampled.
            tokens: int [count, decisions], the architectures to score; None: they are sampled.

        Returns:
            A `Rollout` of tokens, int32, log-probabilities and entropies, float32, each [count, decisions].
        """
        shape = (count, len(self._num_choices), max(self._num_choices))
        if tokens is None:
            noise, tokens = temperature * self._rng.gumbel(size=shape), np.full(shape[:2], SAMPLE)
        else:
            noise = np.zeros(shape)
        batches = []
        for start in range(0, count, self.batch_size):
            rows = slice(start, start + self.batch_size)
            outputs = self._model.predict_on_batch([self._padded(tokens[rows], "int32"), self._padded(noise[rows])])
            batches.append((outputs["tokens"], outputs["scores"]))
        if not batches:
            return Rollout(np.zeros(shape[:2], "int32"), np.zeros(shape[:2], "float32"), np.zeros(shape[:2], "float32"))
        tokens, scores = (np.concatenate(each)[:count] for each in zip(*batches))
        return Rollout(tokens, scores[..., 0], scores[..., 1])

    def _update_batch(self, tokens, rewards, old_log_probs=None):
        """Trains on one batch.

        Args:
            tokens: int [count, decisions].
            rewards: float [count].
            old_log_probs: float [count, decisions], under the policies that they were drawn from; None: they were not
                drawn from a policy, and those are taken that they have as it is.
        """
        count, is_own = len(rewards), old_log_probs is not None
        if self._baseline is None:
            self._baseline = _policy_gradient.moving_average(None, rewards, self._config.baseline_decay)
        advantages = _policy_gradient.advantage(rewards, self._baseline, self._config.normalize_advantage)
        if not is_own:
            advantages = np.maximum(0.0, advantages)
            old_log_probs = self.unroll(count, tokens).log_probs
        targets = np.stack([old_log_probs, np.broadcast_to(advantages[:, None], old_log_probs.shape)], axis=-1)
        # Keras divides by the whole batch size, padding included.
        weights = self._padded(np.full(count, self.batch_size / count))
        noise = np.zeros((self.batch_size, len(self._num_choices), max(self._num_choices)), "float32")
        for _ in range(1 if self._config.method == "reinforce" else self._config.inner_epochs):
            self._model.train_on_batch(
                [self._padded(tokens, "int32"), noise], {"scores": self._padded(targets)}, {"scores": weights}
            )
        if is_own:
            self._judged.extend((reward, self._baseline) for reward in rewards)
            self._diagnose(old_log_probs, self.unroll(count, tokens).log_probs)
            self._updates += 1
        self._baseline = _policy_gradient.moving_average(self._baseline, rewards, self._config.baseline_decay)

    def _diagnose(self, old_log_probs, log_probs):
        """Notes how far an update went, and how much of the rewards' variance the baseline explains."""
        ratios = np.exp(log_probs - old_log_probs)
        rewards, baselines = np.array(self._judged).T
        explained = 1 - np.var(rewards - baselines) / np.var(rewards) if np.var(rewards) > 0 else 0.0
        self.diagnostics = {
            # The estimator (r - 1) - log r, which is never below 0 (Schulman 2020).
            "ppo/approximate_kl": float(np.mean(np.sum(ratios - 1 - np.log(ratios), axis=1))),
            "ppo/clip_fraction": float(np.mean(np.abs(ratios - 1) > self._config.clip_range)),
            "ppo/explained_variance": float(explained),
        }

    def _padded(self, rows, dtype="float32"):
        """Returns `rows` with zeros behind them up to the batch size: with one shape the graph is traced once."""
        padded = np.zeros((self.batch_size, *np.shape(rows)[1:]), dtype)
        padded[: len(rows)] = rows
        return padded

    def _checked(self, trials):
        """Returns the trials' tokens, int [trials, decisions], and rewards, float [trials].

        Raises:
            UserError: the tokens of a trial do not fit the decisions, or its reward is not finite.
        """
        for trial in trials:
            fits = len(trial.tokens) == len(self._num_choices)
            if not fits or not all(0 <= token < n for token, n in zip(trial.tokens, self._num_choices)):
                raise UserError(
                    f"Expected trials with one token for each of {len(self._num_choices)} decisions, each below "
                    f"{self._num_choices}. Received: trial {trial.id}, tokens={trial.tokens}"
                )
            if trial.reward is None or not math.isfinite(trial.reward):
                raise UserError(
                    f"Expected finished trials with a finite reward. Received: trial {trial.id}, reward={trial.reward}"
                )
        return np.array([trial.tokens for trial in trials]), np.array([trial.reward for trial in trials])
