"""Training a detector, from the weights it has. A stopped training goes on to the weights it would have had."""

import contextlib
import functools
import math

from nas_tf import resume
from nas_tf.bars import doing
from nas_tf.datasets import PIXEL_MEAN, PIXEL_STD
from nas_tf.detection.batches import training_batches
from nas_tf.detection.boxes import anchors
from nas_tf.detection.evaluate import evaluate
from nas_tf.detection.loss import detection_loss
from nas_tf.networks.ssdlite import BOX_VALUES
from nas_tf.training import checkpoint
from nas_tf.trial import DivergedTraining, InfeasibleArchitecture, UserError


def train(detector, data, recipe, *, loss, suppression, seed=0, log=None, max_steps=None, progress=None):
    """Trains a detector in place and returns its history.

    Args:
        detector: the `keras.Model` of a detector (`nas_tf.networks.ssdlite.detector`).
        data: the `nas_tf.detection.data.DetectionData`.
        recipe: the `nas_tf.training.recipe.Recipe`. Its `batch_norm` is about the network below the head.
        loss: of `nas_tf.detection.loss.LOSSES`.
        suppression: the `nas_tf.detection.nms.Suppression` by which it is judged after each epoch.
        seed: decides the order of images, and what is done to them.
        log: the `nas_tf.training.train.Log`, or None.
        max_steps: ends training early.
        progress: what the progress bar is called; None: no bar.

    Returns:
        A list with a dict for each epoch if there was a log: `epoch`, mean `loss`, `validation_map_50`,
        `validation_map` and `seconds`.

    Raises:
        InfeasibleArchitecture: the loss is no longer finite, or the detector does not fit into memory.
        UserError: the log's file is damaged, or belongs to another training; or there are no images to train on.
    """
    num_examples = len(data.splits["train"])
    if num_examples == 0:
        raise UserError(f"Expected annotated images to train on. Received: none in {data.root}")
    doing("tracing")
    size, steps_per_epoch = detector.inputs[0].shape[1], math.ceil(num_examples / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    with _frozen_batch_norm(detector) if recipe.batch_norm == "frozen" else contextlib.nullcontext():
        model, optimizer = compiled(detector, recipe, steps, loss)

        def judge():
            doing("validating")
            return evaluate(_outputs_of(model), data, "validation", suppression, size)

        place = _restored(log, model)
        clock = _clock(judge)(
            place, steps_per_epoch, recipe, optimizer, log=log, max_steps=max_steps, progress=progress
        )
        try:
            if place.step < steps:
                batches = training_batches(data, size, recipe.batch_size, seed, recipe.epochs, place.step)
                _fit(model, batches, clock)
        finally:
            clock.close()
        if not math.isfinite(clock.loss):
            raise DivergedTraining(f"Training diverged: the loss was {clock.loss} at step {place.step} of {steps}")
        optimizer.swap_averages()
    return place.history


def compiled(detector, recipe, steps, loss):
    """Puts a detector behind the scaling of pixels and compiles it.

    Returns:
        `(keras.Model, keras.optimizers.Optimizer)`: from uint8 images to float32 [batch, anchors, 4 + 1 + classes].
    """
    import keras

    inputs = keras.Input(detector.inputs[0].shape[1:], name="pixels")
    scaling = keras.layers.Rescaling(1 / PIXEL_STD, offset=-PIXEL_MEAN / PIXEL_STD, dtype="float32", name="rescale")
    outputs = keras.ops.concatenate(detector(scaling(inputs)), axis=-1)
    model = keras.Model(inputs, outputs)
    statistics = [each for each in model.non_trainable_variables if each.name in ("moving_mean", "moving_variance")]
    optimizer = recipe.make_optimizer(steps, statistics)
    has_gpu = bool(keras.distribution.list_devices("gpu"))
    around = anchors(detector.inputs[0].shape[1])
    model.compile(optimizer=optimizer, loss=detection_loss(around, loss), jit_compile="auto" if has_gpu else False)
    # What is made inside the first training step costs a second tracing.
    model.optimizer.build(model.trainable_variables)
    return model, optimizer


def _outputs_of(model):
    """Returns a function from float32 images in [-1, 1] to the two outputs of the detector inside a compiled model."""

    def predict(images):
        found = model.predict_on_batch(images * PIXEL_STD + PIXEL_MEAN)
        return found[..., :BOX_VALUES], found[..., BOX_VALUES:]

    return predict


def _clock(judge):
    """Returns `DetectionClock` with its `judge`."""
    from nas_tf.detection._clock import DetectionClock

    return functools.partial(DetectionClock, judge)


def _fit(model, batches, clock):
    import keras

    try:
        model.fit(batches, shuffle=False, callbacks=[keras.callbacks.TerminateOnNaN(), clock], verbose=0)
    except Exception as error:
        if type(error).__name__ in ("ResourceExhaustedError", "MemoryError"):
            raise InfeasibleArchitecture("The detector does not fit into memory while it is trained") from error
        raise


def _restored(log, model):
    """Returns the `Place` that training goes on from, and puts the model into its state there."""
    from nas_tf.training._clock import Place

    if log is None:
        return Place()
    found = checkpoint.read_place(log.path)
    if found is None:
        return Place(asked=log.asked)
    place = Place(**found)
    resume.refuse_other_settings(log.path, place.asked, log.asked, instead="remove it to begin anew")
    checkpoint.restore(log.path, model)
    return place


@contextlib.contextmanager
def _frozen_batch_norm(detector):
    """Inside it, batch normalisation below the head keeps its statistics, scales and offsets."""
    import keras

    frozen = [
        layer
        for layer in detector.layers
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.name.startswith("ssd_")
    ]
    for layer in frozen:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in frozen:
            layer.trainable = True
