"""How long a job may take: a multiple of what the rehearsal says of it."""

import dataclasses

PATIENT_SECONDS = 1800.0  # for what comes before the first trial: published networks, and the rehearsal itself
_LEAST_SECONDS = 60.0
_UNREHEARSED_SECONDS = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Deadlines:
    """Seconds after which the job of a trial is killed. Without a rehearsal that is a day.

    Attributes:
        cost_seconds: for the cost of an architecture.
        accuracy_seconds: for the accuracy of one as large as the rehearsed one.
        mult_adds: the rehearsed one's multiply-adds at the deployment scale; None: they are not known.
    """

    cost_seconds: float = _UNREHEARSED_SECONDS
    accuracy_seconds: float = _UNREHEARSED_SECONDS
    mult_adds: int | None = None

    @classmethod
    def of_rehearsal(cls, factor, training, cost, patience_seconds):
        """Returns the deadlines after a rehearsal.

        Args:
            factor: how many times the rehearsal's time for that much work a job may take.
            training, cost: the `nas_tf.search.workers.Outcome`s of the rehearsed jobs.
            patience_seconds: for how long a latency may take beside its own work.
        """
        made = {}
        if cost.value is not None:
            made["cost_seconds"] = max(_LEAST_SECONDS, factor * cost.seconds) + patience_seconds
            made["mult_adds"] = cost.value.mult_adds
        if training.value is not None:
            whole = training.seconds + training.value.planned_steps * training.value.step_seconds
            made["accuracy_seconds"] = max(_LEAST_SECONDS, factor * whole)
        return cls(**made)

    def of_accuracy(self, cost, work=1.0):
        """Returns the deadline of an accuracy, given the architecture's `nas_tf.trial.Cost`: a larger one has more.

        `work` is that of its rung, where the rehearsed one is 1.
        """
        return (
            self.accuracy_seconds
            * max(1.0, work)
            * max(1.0, cost.mult_adds / self.mult_adds if self.mult_adds else 1.0)
        )
