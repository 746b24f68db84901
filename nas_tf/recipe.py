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

    `learning_rate` is the peak; with `learning_rate_batch` > 0 it is for that many images in a step, and grows with
    `batch_size`. Warm-up takes `warmup_epochs`, or `warmup_fraction` of all steps where that is None. `schedule` behind
    it: `cosine` falls to 0, `exponential` multiplies by `decay_rate` every `decay_epochs`, counted from the start.

    `weight_decay` is, by `weight_decay_form`, `decoupled` (Keras's: weights shrink by learning rate x weight_decay a
    step) or `l2` (the gradient of weight_decay / 2 x weight^2 is added to the loss's, as in the papers' code). Batch
    normalisation is spared, and biases unless `decay_biases`. `gradient_clip_norm` bounds the norm of all gradients
    together; 0: none. `ema_decay` > 0 keeps moving averages of the weights and of the moving statistics
    (`nas_tf.optimizers`), which the network is judged by and ends with.

    `rho` and `epsilon` are RMSProp's, with Keras's meaning; its mean squares begin at 1. `auxiliary_weight` is that of
    an auxiliary head's loss, where the network has one. `cutout_fraction` of an image's height and width is greyed out,
    at a place of chance (arXiv 1708.04552; the square always lies inside the image). `randaugment_ops` > 0 puts so many
    operations of RandAugment (arXiv 1909.13719; Keras's, which draws the operations once a batch), of strength
    `randaugment_factor`, before the data set's own augmentation.

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
    optimizer: typing.Literal["sgd", "rmsprop", "adamw"] = "sgd"
    rho: float = 0.9
    epsilon: float = 1.0
    schedule: typing.Literal["cosine", "exponential"] = "cosine"
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    gradient_clip_norm: float = 0.0
    ema_decay: float = 0.0
    auxiliary_weight: float = 0.0
    cutout_fraction: float = 0.0
    learning_rate_batch: int = 0
    warmup_epochs: float | None = None
    weight_decay_form: typing.Literal["decoupled", "l2"] = "decoupled"
    decay_biases: bool = False
    randaugment_ops: int = 0
    randaugment_factor: float = 0.3

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate", "epsilon", "decay_rate", "decay_epochs"):
            if not getattr(self, name) > 0 or not math.isfinite(getattr(self, name)):
                raise UserError(f"Expected {name} > 0 for training. Received: {getattr(self, name)}")
        for name in ("weight_decay", "gradient_clip_norm", "auxiliary_weight", "learning_rate_batch",
                     "randaugment_ops"):  # fmt: skip
            if not getattr(self, name) >= 0 or not math.isfinite(getattr(self, name)):
                raise UserError(f"Expected {name} >= 0 for training. Received: {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "warmup_fraction", "rho", "ema_decay", "cutout_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"Expected {name} from 0 to below 1 for training. Received: {getattr(self, name)}")
        if self.warmup_epochs is not None and not 0 <= self.warmup_epochs < self.epochs:
            raise UserError(
                f"Expected more epochs than the {self.warmup_epochs} of the warm-up. Received: epochs={self.epochs}"
            )
        if not 0 < self.randaugment_factor <= 1:
            raise UserError(f"Expected randaugment_factor in (0, 1]. Received: {self.randaugment_factor}")

    def with_settings(self, settings, *names):
        """This recipe with those of a command's settings, called `names`, that are not None; a learning rate that is
        given does not grow with the batch."""
        asked = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
        if "learning_rate" in asked:
            asked["learning_rate_batch"] = 0
        return dataclasses.replace(self, **asked)

    @property
    def peak_learning_rate(self):
        """float: the learning rate behind the warm-up, at this batch size."""
        scaled = self.batch_size / self.learning_rate_batch if self.learning_rate_batch else 1.0
        return self.learning_rate * scaled

    def make_optimizer(self, steps, also_averaged=()):
        """The `keras.optimizers.Optimizer` for `steps` training steps in all; `also_averaged` are variables of which
        moving averages are kept beside those of the weights."""
        from nas_tf import optimizers

        decay = "l2" if self.weight_decay_form == "l2" else "weight_decay"
        shared = {
            "learning_rate": self._schedule(steps),
            decay: self.weight_decay or (None if decay == "weight_decay" and self.optimizer != "adamw" else 0.0),
            "global_clipnorm": self.gradient_clip_norm or None,
            "use_ema": self.ema_decay > 0,
            "ema_momentum": self.ema_decay or 0.99,
            "also_averaged": also_averaged,
        }
        if self.optimizer == "sgd":
            optimizer = optimizers.SGD(momentum=self.momentum, nesterov=True, **shared)
        elif self.optimizer == "adamw":
            optimizer = optimizers.AdamW(**{"weight_decay": 0.0, **shared})  # Keras's default is another
        else:
            optimizer = optimizers.RMSprop(momentum=self.momentum, rho=self.rho, epsilon=self.epsilon, **shared)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", *([] if self.decay_biases else ["bias"])])
        return optimizer

    def _schedule(self, steps):
        import keras

        from nas_tf.optimizers import WarmExponential

        epoch = steps / self.epochs
        fraction = self.warmup_fraction if self.warmup_epochs is None else self.warmup_epochs / self.epochs
        if self.schedule == "exponential":
            return WarmExponential(
                self.peak_learning_rate, int(steps * fraction + 1e-6), epoch * self.decay_epochs, self.decay_rate
            )
        warmup_steps = max(1, int(steps * fraction))
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=self.peak_learning_rate / warmup_steps,
            decay_steps=max(1, steps - warmup_steps),
            warmup_target=self.peak_learning_rate,
            warmup_steps=warmup_steps,
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """A `Recipe`, and what of a family's `Scale` belongs to it: `scale` for the network that ships, `train_scale` on
    top of that while it is trained."""

    recipe: Recipe
    scale: dict = dataclasses.field(default_factory=dict)
    train_scale: dict = dataclasses.field(default_factory=dict)

    def scales(self, scale):
        """A family's `Scale` with what belongs to this plan: for the network that ships, and for its training."""
        fields = {field.name for field in dataclasses.fields(scale)}
        ships = dataclasses.replace(scale, **{name: self.scale[name] for name in fields & self.scale.keys()})
        training = {name: self.train_scale[name] for name in fields & self.train_scale.keys()}
        if "auxiliary_head" in fields:
            training["auxiliary_head"] = self.recipe.auxiliary_weight > 0
        return ships, dataclasses.replace(ships, **training)


# For data of one's own: neither is published. Few steps, so that batch normalisation has to forget fast.
PLANS = {
    "cosine": Plan(Recipe(epochs=30, learning_rate=0.02, label_smoothing=0.1), {"bn_momentum": 0.9}),
    "adamw": Plan(
        Recipe(
            epochs=50, batch_size=64, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05, label_smoothing=0.1,
            randaugment_ops=2, ema_decay=0.999,
        ),
        {"bn_momentum": 0.9},
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ProxyRecipe:
    """The knobs of a search's own training; the rest of `Recipe` stays at its defaults."""

    proxy_epochs: int = knob(5, "Epochs for which each child is trained.")
    proxy_batch_size: int = knob(32, "Images in a training step of a child.")
    proxy_learning_rate: float = knob(0.02, "Peak learning rate of a child's cosine schedule.")

    @property
    def recipe(self):
        return Recipe(self.proxy_epochs, self.proxy_batch_size, self.proxy_learning_rate)
