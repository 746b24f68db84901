"""The controller of NASNet and MnasNet: an LSTM that answers the decisions in turn, trained by PPO or REINFORCE.

One layer of 100 units, all weights uniform in +-0.1, one softmax a decision, the embedding of the previous token as
input (NASNet, appendix A; MnasNet uses the same). The same function samples architectures and scores given ones.
"""

import collections
import dataclasses
import math
from typing import Literal

import numpy as np

from nas_tf import algorithms
from nas_tf.algorithms import _checkpoint
from nas_tf.flags import knob
from nas_tf.trial import Suggestion, UserError

PRESETS = {
    "paper": {
        "batch_size": 20,
        "learning_rate": 3.5e-4,
        "entropy_weight": 1e-5,
        "baseline_decay": 0.95,
        "normalize_advantage": False,
        "inner_epochs": 5,
    },
    "small_budget": {
        "batch_size": 10,
        "learning_rate": 1e-2,
        "entropy_weight": 1e-2,
        "baseline_decay": 0.8,
        "normalize_advantage": True,
        "inner_epochs": 5,
    },
}
INITIAL_WEIGHT = 0.1
SAMPLE = -1


@dataclasses.dataclass(frozen=True)
class Config:
    """Where a default is None, the preset gives the value.

    `paper` holds the figures of NASNet's appendix A and is meant for thousands of trials. `small_budget`, the default,
    is meant for tens to hundreds: TODO
    """

    preset: Literal["small_budget", "paper"] = knob(
        "small_budget", "Values of the settings that are not given: for tens to hundreds of trials, or the paper's."
    )
    method: Literal["ppo", "reinforce"] = knob("ppo", "Policy gradient.")
    batch_size: int | None = knob(None, "Architectures in one update.")
    learning_rate: float | None = knob(None, "Adam's learning rate.")
    entropy_weight: float | None = knob(None, "Weight of the entropy bonus.")
    baseline_decay: float | None = knob(None, "Decay of the moving average of rewards that is the baseline.")
    normalize_advantage: bool | None = knob(None, "Divide advantages by the standard deviation of the batch's rewards.")
    inner_epochs: int | None = knob(None, "Gradient steps on each batch; REINFORCE always takes one.")
    clip_range: float = knob(0.2, "PPO's clip range.")
    lstm_units: int = knob(100, "Units of the LSTM.")
    embedding_size: int = knob(100, "Size of a token's embedding.")

    def __post_init__(self):
        for name in ("batch_size", "inner_epochs", "lstm_units", "embedding_size"):
            self._require(name, lambda value: value >= 1, "at least 1")
        for name in ("learning_rate", "clip_range"):
            self._require(name, lambda value: math.isfinite(value) and value > 0, "finite and > 0")
        self._require("entropy_weight", lambda value: math.isfinite(value) and value >= 0, "finite and >= 0")
        self._require("baseline_decay", lambda value: 0 <= value < 1, "in [0, 1)")

    def _require(self, name, holds, expected):
        value = getattr(self, name)
        if value is not None and not holds(value):
            raise UserError(f"Expected {name.replace('_', ' ')} to be {expected}. Received: {name}={value}")

    def resolved(self):
        """This configuration with the preset's value for each setting that is None."""
        values = {name: value for name, value in PRESETS[self.preset].items() if getattr(self, name) is None}
        return dataclasses.replace(self, **values)


def make(config, num_choices, seed):
    """The `PPO` over `num_choices`, a tuple of how many choices each decision has."""
    return PPO(config.resolved(), tuple(num_choices), seed)


# The terms, under the papers' names. All arrays are float32 [batch, decisions] unless said otherwise.


def ratio(log_probs, old_log_probs):
    """r = pi(token) / pi_old(token) (PPO, section 3), one a decision."""
    from keras import ops

    return ops.exp(log_probs - old_log_probs)


def clipped_surrogate(ratio, advantage, clip_range):
    """L^CLIP = min(r A, clip(r, 1 - e, 1 + e) A) (PPO, equation 7)."""
    from keras import ops

    return ops.minimum(ratio * advantage, ops.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage)


def policy_gradient(log_probs, advantage):
    """log pi(token) A, whose gradient is REINFORCE's."""
    return log_probs * advantage


def entropy(log_softmax):
    """H = -sum p log p over the last axis: [..., choices] to [...]."""
    from keras import ops

    return -ops.sum(ops.exp(log_softmax) * log_softmax, axis=-1)


def advantage(rewards, baseline, normalize):
    """A = R - b, divided by the standard deviation of the rewards where `normalize` asks for it: float [batch].

    Equal rewards (a deviation of 0) are not divided.
    """
    deviation = np.std(rewards) if normalize else 1.0
    return (rewards - baseline) / (deviation if deviation > 1e-8 else 1.0)


def moving_average(baseline, rewards, decay):
    """The baseline after a batch of rewards; the first batch's mean where there is none yet."""
    mean = float(np.mean(rewards))
    return mean if baseline is None else decay * baseline + (1 - decay) * mean


def loss_function(method, clip_range, entropy_weight):
    """The loss of `method` as Keras takes it: `(y_true, y_pred)` to float32 [batch], summed over decisions.

    y_true, float32 [batch, decisions, 2]: old log-probability, advantage. y_pred, the same shape: log-probability,
    entropy.
    """
    from keras import ops

    def loss(y_true, y_pred):
        old_log_probs, advantages = y_true[..., 0], y_true[..., 1]
        log_probs, entropies = y_pred[..., 0], y_pred[..., 1]
        if method == "ppo":
            objective = clipped_surrogate(ratio(log_probs, old_log_probs), advantages, clip_range)
        else:
            objective = policy_gradient(log_probs, advantages)
        return -ops.sum(objective + entropy_weight * entropies, axis=-1)

    return loss


def build_controller(num_choices, batch_size, lstm_units, embedding_size):
    """The controller as a functional `keras.Model` of fixed batch size.

    Inputs: tokens, int32 [batch, decisions], where `SAMPLE` asks for a sample; noise, float32 [batch, decisions,
    max choices]: with Gumbel noise the largest `logit + noise` is a sample of the softmax.
    Outputs: tokens, int32 [batch, decisions], given or sampled; scores, float32 [batch, decisions, 2]: the
    log-probability of each token and the entropy of its softmax.
    """
    import keras
    from keras import ops

    given = keras.Input(batch_shape=(batch_size, len(num_choices)), dtype="int32", name="tokens")
    noise = keras.Input(batch_shape=(batch_size, len(num_choices), max(num_choices)), name="noise")
    # One row for each choice of each decision, after row 0, which stands before the first.
    embedding = keras.layers.Embedding(1 + sum(num_choices), embedding_size, name="embedding")
    cell = keras.layers.LSTMCell(lstm_units, name="lstm")

    # From an input, or Keras would take the first step for a constant and leave its weights out of the model.
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
        scores.append(ops.stack([log_prob, entropy(log_softmax)], axis=-1))
        row, first_row = first_row + token, first_row + choices
    return keras.Model([given, noise], {"tokens": ops.stack(tokens, 1), "scores": ops.stack(scores, 1)}, name="controller")


Rollout = collections.namedtuple("Rollout", ("tokens", "log_probs", "entropies"))


class PPO(algorithms.Algorithm):
    """The controller and its trainer. Sampling uses NumPy's generator, so it does not depend on Keras's backend."""

    def __init__(self, config, num_choices, seed):
        import keras

        self._config = config
        self._num_choices = num_choices
        self._rng = np.random.default_rng(seed)
        self._baseline = None
        self._updates = 0
        self._model = build_controller(num_choices, config.batch_size, config.lstm_units, config.embedding_size)
        self._model.compile(
            optimizer=keras.optimizers.Adam(config.learning_rate),
            loss={"scores": loss_function(config.method, config.clip_range, config.entropy_weight)},
            # TensorFlow's kernels beat XLA on the CPU; JAX has only XLA.
            jit_compile=keras.backend.backend() == "jax",
        )
        self._model.optimizer.build(self._model.trainable_variables)
        self._model.set_weights(
            [self._rng.uniform(-INITIAL_WEIGHT, INITIAL_WEIGHT, w.shape) for w in self._model.get_weights()]
        )

    @property
    def batch_size(self):
        return self._config.batch_size
    
    def _reset(self, seed):
        self._rng = np.random.default_rng(seed)
        self._baseline = None
        self._updates = 0
        for v in self._model.optimizer.variables:
            if v.name != "learning_rate": v.assign(np.zeros(v.shape))
        self._model.set_weights(
            [self._rng.uniform(-INITIAL_WEIGHT, INITIAL_WEIGHT, w.shape) for w in self._model.get_weights()]
        )

    def suggest(self, count):
        note = "" if self._updates else "untrained"
        return [Suggestion(tuple(row), note) for row in self.unroll(count).tokens.tolist()]

    def update(self, trials):
        tokens, rewards = self._checked(trials)
        for start in range(0, len(trials), self.batch_size):
            batch = slice(start, start + self.batch_size)
            self._update_batch(tokens[batch], rewards[batch])

    def unroll(self, count, tokens=None):
        """Samples `count` architectures or, given `tokens` (int [count, decisions]), scores those.

        Returns:
            `Rollout` of tokens, int32, log-probabilities and entropies, float32, each [count, decisions].
        """
        shape = (count, len(self._num_choices), max(self._num_choices))
        if tokens is None:
            noise, tokens = self._rng.gumbel(size=shape), np.full(shape[:2], SAMPLE)
        else:
            noise = np.zeros(shape)
        batches = []
        for start in range(0, count, self.batch_size):
            rows = slice(start, start + self.batch_size)
            outputs = self._model.predict_on_batch([self._padded(tokens[rows], "int32"), self._padded(noise[rows])])
            batches.append(np.concatenate([outputs["tokens"][..., None], outputs["scores"]], axis=-1))
        unrolled = np.concatenate(batches or [np.zeros((0, shape[1], 3))])[:count]
        return Rollout(unrolled[..., 0].astype("int32"), unrolled[..., 1], unrolled[..., 2])

    def _update_batch(self, tokens, rewards):
        """PPO on one batch: the old log-probabilities are those under the weights as they are now."""
        count = len(rewards)
        if self._baseline is None:
            self._baseline = moving_average(None, rewards, self._config.baseline_decay)
        advantages = advantage(rewards, self._baseline, self._config.normalize_advantage)
        old_log_probs = self.unroll(count, tokens).log_probs
        targets = np.stack([old_log_probs, np.broadcast_to(advantages[:, None], old_log_probs.shape)], axis=-1)
        # Keras divides by the batch size, padding included.
        weights = self._padded(np.full(count, self.batch_size / count))
        noise = np.zeros((self.batch_size, len(self._num_choices), max(self._num_choices)), "float32")
        for _ in range(1 if self._config.method == "reinforce" else self._config.inner_epochs):
            self._model.train_on_batch(
                [self._padded(tokens, "int32"), noise], {"scores": self._padded(targets)}, {"scores": weights}
            )
        self._baseline = moving_average(self._baseline, rewards, self._config.baseline_decay)
        self._updates += 1

    def _padded(self, rows, dtype="float32"):
        """`rows`, with rows of zeros up to the batch size: one shape, so the graph is traced once."""
        padded = np.zeros((self.batch_size, *np.shape(rows)[1:]), dtype)
        padded[: len(rows)] = rows
        return padded

    def _checked(self, trials):
        for trial in trials:
            pass
        return np.array([t.tokens for t in trials]), np.array([t.reward for t in trials], float)
    def save(self, path): pass
    def restore(self, path): pass
