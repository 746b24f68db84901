"""The callback that judges a detector after each epoch of its training.

It imports Keras at its top, as `nas_tf.training._clock` does: it is imported where a detector is trained.
"""

from nas_tf.training._clock import StepClock


class DetectionClock(StepClock):
    """A `StepClock` that reads mean average precision after each epoch.

    Args:
        judge: `judge()` returns the `nas_tf.detection.evaluate.MeanPrecision` of the validation images.
        *args, **kwargs: those of `StepClock`, without `validation`.
    """

    def __init__(self, judge, *args, **kwargs):
        super().__init__(*args, validation=None, **kwargs)
        self._judge = judge

    def _judged(self):
        found = self._judge()
        return {"validation_map_50": found.map_50 or 0.0, "validation_map": found.map or 0.0}
