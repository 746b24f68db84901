"""How a network is trained, as plain data, and the Keras optimizer that follows from it."""

import dataclasses

from nas_tf.settings import CHILDREN, TRAINING, Settings, knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Recipe(Settings):
    """How a network is trained.

    The defaults are a short recipe that suits every child alike: SGD with Nesterov momentum, linear warm-up and one
    cosine. It is neither paper's. MnasNet's proxy is 5 epochs of ImageNet with its full recipe (section 4), NASNet's is
    20 epochs of CIFAR-10 with momentum and a cosine (appendix A.3).

    Attributes:
        learning_rate: the peak. With `learning_rate_batch` > 0 it is for that many images in a step, and grows with
            `batch_size`.
        warmup_epochs: epochs of warm-up; None: `warmup_fraction` of all steps.
        schedule: what follows the warm-up. `cosine` falls to 0; `exponential` multiplies by `decay_rate` every
            `decay_epochs`, counted from the start.
        weight_decay_form: `decoupled` (Keras's: weights shrink by learning rate x weight_decay in each step) or `l2`
            (the gradient of weight_decay / 2 x weight^2 is added to the loss's, as in the papers' code). Batch
            normalisation is spared, and so are biases unless `decay_biases`.
        gradient_clip_norm: bounds the norm of all gradients together; 0: no bound.
        ema_decay: above 0, moving averages of the weights and of the moving statistics are kept
            (`nas_tf.training.optimizers`). The network is judged by them and ends with them.
        rho, epsilon: RMSProp's, with Keras's meaning. Its mean squares begin at 1.
        auxiliary_weight: weight of an auxiliary head's loss, if the network has one.
        cutout_fraction: share of an image's height and width that is greyed out, at a random place inside the image
            (arXiv 1708.04552).
        randaugment_ops: how many operations of RandAugment (arXiv 1909.13719), of strength `randaugment_factor`, come
            before the data set's own augmentation; 0: none. Keras draws them once for each batch.
        head: `closed_form` fits the classifier to the features first (`nas_tf.training.head`), for a network whose
            other weights are trained already.
        batch_norm: `frozen` keeps the statistics, scales and offsets of batch normalisation as they are: few images
            would spoil those of millions.
        other_learning_rate: above 0, a second peak. Both are tried for a few steps, and the one with more validation
            images right is used.
        teacher_weight: with a teacher, the share of the loss that goes to its probabilities; the labels have the rest.
        frozen_fraction: up to this share of the multiply-adds, early layers stay as they are. What they make of images
            and of mirror images is computed once (`nas_tf.training.features`), and images are altered no further.
    """

    epochs: int = knob(least=1)
    batch_size: int = knob(32, least=1)
    learning_rate: float = knob(0.02, above=0)
    momentum: float = knob(0.9, least=0, below=1)
    weight_decay: float = knob(1e-4, least=0)
    label_smoothing: float = knob(0.0, least=0, below=1)
    warmup_fraction: float = knob(0.1, least=0, below=1)
    optimizer: str = knob("sgd", choices=("sgd", "rmsprop", "adamw"))
    rho: float = knob(0.9, least=0, below=1)
    epsilon: float = knob(1.0, above=0)
    schedule: str = knob("cosine", choices=("cosine", "exponential"))
    decay_rate: float = knob(0.97, above=0)
    decay_epochs: float = knob(2.4, above=0)
    gradient_clip_norm: float = knob(0.0, least=0)
    ema_decay: float = knob(0.0, least=0, below=1)
    auxiliary_weight: float = knob(0.0, least=0)
    cutout_fraction: float = knob(0.0, least=0, below=1)
    learning_rate_batch: int = knob(0, least=0)
    warmup_epochs: float | None = knob(None, least=0)
    weight_decay_form: str = knob("decoupled", choices=("decoupled", "l2"))
    decay_biases: bool = False
    randaugment_ops: int = knob(0, least=0)
    randaugment_factor: float = knob(0.3, above=0, most=1)
    head: str = knob("trained", choices=("trained", "closed_form"))
    batch_norm: str = knob("trained", choices=("trained", "frozen"))
    other_learning_rate: float = knob(0.0, least=0)
    teacher_weight: float = knob(0.7, least=0, most=1)
    frozen_fraction: float = knob(0.0, least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.frozen_fraction and (self.randaugment_ops or self.cutout_fraction):
            raise UserError(
                "Layers that are computed once see no image altered in many ways. Expected randaugment_ops=0 and "
                f"cutout_fraction=0. Received: frozen_fraction={self.frozen_fraction}, "
                f"randaugment_ops={self.randaugment_ops}, cutout_fraction={self.cutout_fraction}"
            )
        if self.other_learning_rate and self.learning_rate_batch:
            raise UserError(
                "Expected two learning rates to be given as they are, with learning_rate_batch=0. Received: "
                f"learning_rate_batch={self.learning_rate_batch}"
            )
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            raise UserError(
                f"Expected more epochs than the {self.warmup_epochs} of the warm-up. Received: epochs={self.epochs}"
            )

    def with_settings(self, settings, *names):
        """Returns this recipe with some of a command's settings. A learning rate in these ignores the batch size.

        Args:
            settings: the command's settings.
            *names: names of the settings to take. One that is None is left out. A learning rate is the only one tried.
        """
        asked = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
        if "learning_rate" in asked:
            asked |= {"learning_rate_batch": 0, "other_learning_rate": 0.0}
        return dataclasses.replace(self, **asked)

    @property
    def peak_learning_rate(self):
        """float: the learning rate after the warm-up, at this batch size."""
        scaled = self.batch_size / self.learning_rate_batch if self.learning_rate_batch else 1.0
        return self.learning_rate * scaled

    def make_optimizer(self, steps, also_averaged=()):
        """Returns the `keras.optimizers.Optimizer`.

        Args:
            steps: training steps in all.
            also_averaged: variables whose moving averages are kept beside those of the weights.
        """
        from nas_tf.training import optimizers

        schedule = self._schedule(steps, self.peak_learning_rate)
        if self.other_learning_rate:
            schedule = optimizers.ChangeablePeak(self._schedule(steps, 1.0), self.learning_rate)
        decay = "l2" if self.weight_decay_form == "l2" else "weight_decay"
        shared = {
            "learning_rate": schedule,
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

    def _schedule(self, steps, peak):
        import keras

        from nas_tf.training.optimizers import WarmExponential

        epoch = steps / self.epochs
        fraction = self.warmup_fraction if self.warmup_epochs is None else self.warmup_epochs / self.epochs
        if self.schedule == "exponential":
            return WarmExponential(peak, int(steps * fraction + 1e-6), epoch * self.decay_epochs, self.decay_rate)
        warmup_steps = max(1, int(steps * fraction))
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=peak / warmup_steps,
            decay_steps=max(1, steps - warmup_steps),
            warmup_target=peak,
            warmup_steps=warmup_steps,
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """A `Recipe`, and the settings of a family's `Scale` that belong to it.

    Attributes:
        recipe: how the network is trained.
        about: the recipe in one line, for `--help`.
        source: the paper and code that it is taken from, or that it is this project's own.
        command: a command that runs it.
        hours: how long that took and where, or that it was never run to the end.
        scale: settings of `Scale` for the network that ships.
        train_scale: settings of `Scale` on top of these while it is trained.
    """

    recipe: Recipe
    about: str
    source: str
    command: str
    hours: str
    scale: dict = dataclasses.field(default_factory=dict)
    train_scale: dict = dataclasses.field(default_factory=dict)

    def scales(self, scale):
        """Returns a family's `Scale` with this plan's settings: for the network that ships, and for its training."""
        fields = {field.name for field in dataclasses.fields(scale)}
        ships = dataclasses.replace(scale, **{name: self.scale[name] for name in fields & self.scale.keys()})
        training = {name: self.train_scale[name] for name in fields & self.train_scale.keys()}
        if "auxiliary_head" in fields:
            training["auxiliary_head"] = self.recipe.auxiliary_weight > 0
        return ships, dataclasses.replace(ships, **training)


def recipe_knob(plans):
    """Returns the setting `recipe` of a command that trains by one of `plans`, a dict from name to `Plan`."""
    about = "; ".join(f"{name}: {plan.about}" for name, plan in plans.items())
    return knob(
        None,
        f"{about}. Default: finetune where trained weights are the start, else quick.",
        choices=tuple(plans),
        group=TRAINING,
    )


_OWN = "this project's own, for images of one's own; published nowhere"
_FINETUNE = Recipe(
    epochs=3,
    optimizer="adamw",
    learning_rate=3e-4,
    other_learning_rate=1e-3,
    head="closed_form",
    batch_norm="frozen",
)
# Few steps, so that batch normalisation has to forget fast.
PLANS = {
    "cosine": Plan(
        Recipe(epochs=30, learning_rate=0.02, label_smoothing=0.1),
        about="SGD, one cosine, label smoothing, 30 epochs",
        source=_OWN,
        command="nas-ship RUN --recipe=cosine",
        hours="by number of images; docs/measurements.md has runs on CIFAR-10, JPEG, for fewer epochs",
        scale={"bn_momentum": 0.9},
    ),
    "finetune": Plan(
        _FINETUNE,
        about="for pretrained weights: classifier in closed form, batch norm frozen, AdamW, 3 epochs",
        source=_OWN,
        command="mnas-train --parent=efficientnet_lite0 --data_dir=flowers.zip --out_dir=flowers_lite0",
        hours="by number of images; docs/measurements.md has runs on CIFAR-10, JPEG, and on photographs of clothes",
        scale={"bn_momentum": 0.9},
    ),
    "finetune_quick": Plan(
        dataclasses.replace(_FINETUNE, epochs=2, frozen_fraction=0.5),
        about="the same for 2 epochs of the later half of the network alone",
        source=_OWN,
        command="mnas-train --parent=efficientnet_lite0 --recipe=finetune_quick --data_dir=flowers.zip "
        "--out_dir=flowers_lite0",
        hours="by number of images; `python -m benchmarks.finetuning` compares it with finetune",
        scale={"bn_momentum": 0.9},
    ),
    "adamw": Plan(
        Recipe(
            epochs=50,
            batch_size=64,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.05,
            label_smoothing=0.1,
            randaugment_ops=2,
            ema_decay=0.999,
        ),
        about="AdamW with RandAugment and averaged weights, 50 epochs",
        source=_OWN,
        command="nas-ship RUN --recipe=adamw",
        hours="never run to the end; single epochs in tests",
        scale={"bn_momentum": 0.9},
    ),
}


@dataclasses.dataclass(frozen=True)
class ProxyRecipe(Settings):
    """The settings of a search's own training; the rest of `Recipe` stays at its defaults."""

    proxy_epochs: int = knob(5, "Epochs for which each child is trained.", least=1, group=CHILDREN)
    proxy_batch_size: int = knob(32, "Images in a training step of a child.", least=1, group=CHILDREN)
    proxy_learning_rate: float = knob(0.02, "Peak learning rate of a child's cosine schedule.", above=0, group=CHILDREN)

    @property
    def recipe(self):
        return Recipe(self.proxy_epochs, self.proxy_batch_size, self.proxy_learning_rate)
