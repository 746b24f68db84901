"""What a job knows by now, as it is kept between two sessions."""

import dataclasses

from nas_tf.files import read_json, write_json
from nas_tf.making.plan import Plan, Speeds
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class JobState:
    """What a job knows by now.

    Attributes:
        plan: the `nas_tf.making.plan.Plan`, or None before there is one.
        speeds: the `nas_tf.making.plan.Speeds`, or None where no network has weights.
        target_ms: float, the latency that networks are held to, or None if the target is still as it was asked for.
        imports: tuple of the names of the published networks whose weights can be had.
        parent: str, path of the weights that searched networks begin with, or None.
        race_fraction: float, the share of the training images that is left for the race.
        is_searched: whether there is a search.
        by_tables: whether that is of the best networks by both tables.
        is_first_done: whether the best published network has shipped.
        incomplete: str, what is missing of what ships, or None.
        searched_hours: float, hours of the job whose search is done.
        done_hours: float, hours of the job in which nothing is left to do.
    """

    plan: Plan | None = None
    speeds: Speeds | None = None
    target_ms: float | None = None
    imports: tuple[str, ...] = ()
    parent: str | None = None
    race_fraction: float = 0.0
    is_searched: bool = False
    by_tables: bool = False
    is_first_done: bool = False
    incomplete: str | None = None
    searched_hours: float = 0.0
    done_hours: float = 0.0

    @classmethod
    def load(cls, path):
        """Returns the state that a JSON file keeps; that of a job which has just begun if there is no file.

        Raises:
            UserError: the file is damaged.
        """
        kept = read_json(path) or {}
        try:
            for name, kind in (("plan", Plan), ("speeds", Speeds)):
                if kept.get(name):
                    kept[name] = kind(**kept[name])
            return cls(**{**kept, "imports": tuple(kept.get("imports", ()))})
        except (AttributeError, TypeError) as error:
            raise UserError(
                f"Expected a file of this version of nas-make. Received: {path}, which is damaged or another's. Choose "
                "another --out_dir"
            ) from error

    def save(self, path):
        """Writes the state to a JSON file."""
        write_json(path, dataclasses.asdict(self))
