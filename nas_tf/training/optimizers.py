"""Keras's optimizers, changed to what the papers' TensorFlow code does: averages, weight decay, RMSProp's start.

Like `nas_tf.networks.drop_path`, this module imports Keras at its top: it is imported where an optimizer is made.

Sources: tensorflow/tpu, `models/official/mnasnet/mnasnet_main.py` (loss, `ExponentialMovingAverage`) and
`models/official/efficientnet/utils.py` (`build_optimizer`, `build_learning_rate`).
"""

import keras

from nas_tf.training.machine import num_devices, summed_over_devices


class AsPublished:
    """A mixin that changes a Keras optimizer.

    With `use_ema`, the averages are TensorFlow's. They begin with the initial weights, and their decay at update n is
    min(`ema_momentum`, (1 + n) / (10 + n)). They are put into the network only by `swap_averages`.

    Args:
        *args: as for the optimizer.
        l2: `l2` x weight is added to each gradient, as by a loss term l2 / 2 x weight^2. It goes through clipping and
            through the optimizer's own scaling, unlike Keras's `weight_decay`.
        also_averaged: variables whose averages are kept too: the moving statistics of batch normalisation.
        **kwargs: as for the optimizer.
    """

    def __init__(self, *args, l2=0.0, also_averaged=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.l2 = l2
        self._also_averaged = tuple(also_averaged)
        self._rate_of_this_update = None

    @property
    def schedule(self):
        """What gives the learning rate of a step."""
        return self._learning_rate

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        if self.use_ema:
            averages = self._model_variables_moving_average
            averages.extend(self.add_optimizer_variables(list(self._also_averaged), "average"))
            for average, variable in zip(averages, self._averaged()):
                average.assign(variable)

    def apply(self, grads, trainable_variables=None):
        if self.l2:
            variables = self._trainable_variables if trainable_variables is None else trainable_variables
            # Keras divides the loss by the number of devices, and sums their gradients later.
            share = self.l2 / num_devices()
            grads = [
                grad + share * keras.ops.convert_to_tensor(variable) if self._use_weight_decay(variable) else grad
                for grad, variable in zip(grads, variables)
            ]
        # Keras asks the schedule anew for every weight that decays, and traces it as often.
        self._rate_of_this_update = self.learning_rate
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._rate_of_this_update = None

    def _get_current_learning_rate(self):
        rate = self._rate_of_this_update
        return super()._get_current_learning_rate() if rate is None else rate

    def _clip_gradients(self, grads):
        if self.global_clipnorm is None:
            return super()._clip_gradients(grads)
        # Keras clips what each device has found, and sums that. The bound is meant for the sum.
        summed, devices = summed_over_devices(grads)
        return [each / devices for each in super()._clip_gradients(summed)]

    def _update_model_variables_moving_average(self, trainable_variables):
        update = keras.ops.cast(self.iterations, "float32") + 1.0
        decay = keras.ops.minimum(self.ema_momentum, (1.0 + update) / (10.0 + update))
        for average, variable in zip(self._model_variables_moving_average, self._averaged()):
            average.assign(decay * average + (1.0 - decay) * variable)

    def finalize_variable_values(self, var_list):
        """Does nothing: `swap_averages` is called where it is wanted."""

    def swap_averages(self):
        """Exchanges the network's values and their averages, if these are kept. A second call puts them back."""
        if self.use_ema:
            for average, variable in zip(self._model_variables_moving_average, self._averaged()):
                value = keras.ops.convert_to_numpy(variable)
                variable.assign(keras.ops.convert_to_numpy(average))
                average.assign(value)

    def _averaged(self):
        return [*self._trainable_variables, *self._also_averaged]


class SGD(AsPublished, keras.optimizers.SGD):
    pass


class AdamW(AsPublished, keras.optimizers.AdamW):
    pass


class RMSprop(AsPublished, keras.optimizers.RMSprop):
    """TensorFlow 1's RMSProp: each mean square begins at 1, not 0, so that the first steps are small.

    As in Keras, epsilon stands inside the root and the learning rate goes into the momentum.
    """

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(keras.ops.ones_like(velocity))


class WarmExponential(keras.optimizers.schedules.LearningRateSchedule):
    """Exponential decay in stairs behind a linear warm-up, float32 [].

    Before step `warmup_steps` it is `peak` x step / `warmup_steps`, so 0 in the first step. Then it is `peak` x
    `decay_rate`^n, where n is the number of full `decay_steps` since step 0.
    """

    def __init__(self, peak, warmup_steps, decay_steps, decay_rate):
        self.peak, self.warmup_steps = peak, warmup_steps
        self.decay_steps, self.decay_rate = decay_steps, decay_rate

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        decayed = self.peak * self.decay_rate ** keras.ops.floor(step / self.decay_steps)
        return keras.ops.where(step < self.warmup_steps, self.peak * step / max(1, self.warmup_steps), decayed)

    def get_config(self):
        return dict(vars(self))


class ChangeablePeak(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose peak can be changed once a training step is traced, and which can be tried for a few steps.

    Args:
        schedule: the schedule for a peak of 1.
        peak: the peak at first.
    """

    def __init__(self, schedule, peak):
        self.schedule, self._first = schedule, peak
        self._peak, self._tried_steps = (
            keras.Variable(value, dtype="float32", trainable=False, name=name)
            for name, value in (("peak", peak), ("tried_steps", 0.0))
        )

    def __call__(self, step):
        step, tried = keras.ops.cast(step, "float32"), self._tried_steps.value
        rising = (step + 1.0) / keras.ops.maximum(1.0, 0.2 * tried)
        falling = (tried - step) / keras.ops.maximum(1.0, 0.8 * tried)
        trial = keras.ops.clip(keras.ops.minimum(rising, falling), 0.0, 1.0)
        return self._peak.value * keras.ops.where(tried > 0.0, trial, self.schedule(step))

    @property
    def peak(self):
        return float(self._peak)

    def change(self, peak, tried_steps=0):
        """Sets the peak; with `tried_steps` above 0 the rate rises and falls to 0 within so many steps."""
        self._peak.assign(peak)
        self._tried_steps.assign(float(tried_steps))

    def get_config(self):
        return {"schedule": self.schedule, "peak": self._first}
