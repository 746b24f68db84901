"""The terms of REINFORCE and PPO, each under its paper's name.

REINFORCE is Williams 1992; PPO is arXiv 1707.06347. Arrays are float32 [batch, decisions] unless said otherwise: every
decision is an action, and all actions of an architecture share its advantage.
"""

import numpy as np


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
    """A = R - b, shifted and scaled to mean 0 and deviation 1 where `normalize` asks for it: float64 [batch]."""
    advantages = np.asarray(rewards, np.float64) - baseline
    if normalize:
        advantages = (advantages - np.mean(advantages)) / (np.std(advantages) + 1e-8)
    return advantages


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
