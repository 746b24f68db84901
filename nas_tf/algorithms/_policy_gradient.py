"""The terms of REINFORCE and PPO, each under the name that its paper uses.

REINFORCE is Williams 1992; PPO is arXiv 1707.06347. Arrays are float32 [batch, decisions] unless said otherwise. Every
decision is an action, and all actions of an architecture share its advantage.
"""

import numpy as np


def ratio(log_probs, old_log_probs):
    """Returns r = pi(token) / pi_old(token) for each decision (PPO, section 3)."""
    from keras import ops

    return ops.exp(log_probs - old_log_probs)


def clipped_surrogate(ratio, advantage, clip_range):
    """Returns L^CLIP = min(r A, clip(r, 1 - e, 1 + e) A) (PPO, equation 7)."""
    from keras import ops

    return ops.minimum(ratio * advantage, ops.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage)


def policy_gradient(log_probs, advantage):
    """Returns log pi(token) A, whose gradient is REINFORCE's."""
    return log_probs * advantage


def entropy(log_softmax):
    """Returns H = -sum p log p over the last axis: [..., choices] becomes [...]."""
    from keras import ops

    return -ops.sum(ops.exp(log_softmax) * log_softmax, axis=-1)


def advantage(rewards, baseline, normalize):
    """Returns A = R - b as float64 [batch], with mean 0 and standard deviation 1 if `normalize` is true."""
    advantages = np.asarray(rewards, np.float64) - baseline
    if normalize:
        advantages = (advantages - np.mean(advantages)) / (np.std(advantages) + 1e-8)
    return advantages


def moving_average(baseline, rewards, decay):
    """Returns the baseline after a batch of rewards; if `baseline` is None, that is the mean of the batch."""
    mean = float(np.mean(rewards))
    return mean if baseline is None else decay * baseline + (1 - decay) * mean


def loss_function(method, clip_range, entropy_weight):
    """Returns the loss of `method`, a function of `(y_true, y_pred)` as Keras takes it.

    The loss is float32 [batch], summed over decisions. Both of its arguments are float32 [batch, decisions, 2].
    `y_true` holds the old log-probability and the advantage, `y_pred` the log-probability and the entropy.

    Args:
        method: `"ppo"` or `"reinforce"`.
        clip_range: PPO keeps the ratio of probabilities within 1 +- this.
        entropy_weight: weight of the entropy bonus.
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
