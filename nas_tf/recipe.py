"""How a network is trained, as plain data, and the Keras optimizer that follows from it."""

import dataclasses
import math
import typing

from nas_tf.flags import knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The defaults are a short recipe that suits every child alike: SGD with Nesterov momentum, linear warm-up and one
    cosine. It is neither paper's: MnasNet's proxy is 5 epochs of ImageNet with its full recipe (section 4), NASNet's
    20 epochs of CIFAR-10 with momentum and a cosine (appendix A.3).

    `schedule` behind the warm-up: `cosine` falls to 0, `exponential` multiplies by `decay_rate` every `decay_epochs`.
    `gradient_clip_norm` bounds the norm of all gradients together; 0: none. `ema_decay` > 0 gives the exponential
    moving average of the weights at the end. `auxiliary_weight` is that of an auxiliary head's loss, where the network
    has one. `cutout_fraction` of an image's height and width is greyed out, at a place of chance (arXiv 1708.04552; the
    square always lies inside the image). `epsilon` and `rho` are RMSProp's, with Keras's meaning.

    Raises:
        UserError: a value is none that can train.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    warmup_fraction: float = 0.1
    optimizer: typing.Literal["sgd", "rmsprop"] = "sgd"
    rho: float = 0.9
    epsilon: float = 1.0
    schedule: typing.Literal["cosine", "exponential"] = "cosine"
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    gradient_clip_norm: float = 0.0
    ema_decay: float = 0.0
    auxiliary_weight: float = 0.0
    cutout_fraction: float = 0.0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate", "epsilon", "decay_rate", "decay_epochs"):
            if not getattr(self, name) > 0 or not math.isfinite(getattr(self, name)):
                raise UserError(f"Expected {name} > 0 for training. Received: {getattr(self, name)}")
        for name in ("weight_decay", "gradient_clip_norm", "auxiliary_weight"):
            if not getattr(self, name) >= 0 or not math.isfinite(getattr(self, name)):
                raise UserError(f"Expected {name} >= 0 for training. Received: {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "warmup_fraction", "rho", "ema_decay", "cutout_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"Expected {name} from 0 to below 1 for training. Received: {getattr(self, name)}")

    def make_optimizer(self, steps):
        """The `keras.optimizers.Optimizer` for `steps` training steps in all."""
        import keras

        shared = {
            "learning_rate": self._schedule(steps),
            "momentum": self.momentum,
            "weight_decay": self.weight_decay or None,
            "global_clipnorm": self.gradient_clip_norm or None,
            "use_ema": self.ema_decay > 0,
            "ema_momentum": self.ema_decay or 0.99,
        }
        if self.optimizer == "sgd":
            optimizer = keras.optimizers.SGD(nesterov=True, **shared)
        else:
            optimizer = keras.optimizers.RMSprop(rho=self.rho, epsilon=self.epsilon, **shared)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer

    def _schedule(self, steps):
        import keras

        warmup_steps = max(1, int(steps * self.warmup_fraction))
        if self.schedule == "cosine":
            return keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=self.learning_rate / warmup_steps,
                decay_steps=max(1, steps - warmup_steps),
                warmup_target=self.learning_rate,
                warmup_steps=warmup_steps,
            )
        return _warm_exponential()(
            self.learning_rate, warmup_steps, steps / self.epochs * self.decay_epochs, self.decay_rate
        )


@dataclasses.dataclass(frozen=True)
class ProxyRecipe:
    """The knobs of a search's own training; the rest of `Recipe` stays at its defaults."""

    proxy_epochs: int = knob(5, "Epochs for which each child is trained.")
    proxy_batch_size: int = knob(32, "Images in a training step of a child.")
    proxy_learning_rate: float = knob(0.02, "Peak learning rate of a child's cosine schedule.")

    @property
    def recipe(self):
        return Recipe(self.proxy_epochs, self.proxy_batch_size, self.proxy_learning_rate)


def _warm_exponential():
    import keras

    class WarmExponential(keras.optimizers.schedules.LearningRateSchedule):
        """Linear up to `peak` over `warmup_steps`; times `decay_rate` at each full `decay_steps` from the start."""

        def __init__(self, peak, warmup_steps, decay_steps, decay_rate):
            self._decay = keras.optimizers.schedules.ExponentialDecay(peak, decay_steps, decay_rate, staircase=True)
            self._warmup_steps = warmup_steps

        def __call__(self, step):
            warm = keras.ops.minimum((keras.ops.cast(step, "float32") + 1.0) / self._warmup_steps, 1.0)
            return warm * self._decay(step)

        def get_config(self):
            return {**self._decay.get_config(), "warmup_steps": self._warmup_steps}

    return WarmExponential
