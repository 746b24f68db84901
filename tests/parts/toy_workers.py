"""A toy place to work as a part of a user's own: this process, as if it were seven."""

import dataclasses

from nas_tf.search.workers import inline


@dataclasses.dataclass(frozen=True)
class Config:
    pass


def make(config, setup, *, num_workers, max_memory_mb, log_path):
    workers = inline.make(inline.Config(), setup)
    workers.num_workers = 7
    return workers
