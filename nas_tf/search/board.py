"""What TensorBoard shows of a run: rewards as they came, how varied the suggestions are, the front, the settings."""

import collections
import math
import time

from nas_tf.quiet import quiet

_RECENT = 20  # trials whose answers tell how varied suggestions are


class Board:
    """The event file of a session of a run.

    Args:
        folder: of the run's event files.
        decisions: tuple of the space's `nas_tf.space.Decision`s.
    """

    def __init__(self, folder, decisions):
        with quiet():
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._writer = EventFileWriter(str(folder))
        self._names, self._recent = [each.name for each in decisions], collections.deque(maxlen=_RECENT)

    def close(self):
        """Ends the file. A second call does nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def settings(self, flags):
        """Writes the settings of the run, a dict from flag to value, as hyper-parameters of this session."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        known = {
            name: value if isinstance(value, (bool, int, float)) else str(value)
            for name, value in flags.items()
            if value not in (None, "", ())
        }
        self._add(hparams_pb(known), 0)

    def suggestion(self, tokens):
        """Takes the answers of a trial, in the order of trials."""
        self._recent.append(tokens)

    def entropies(self):
        """Returns a dict from scalar to value: the entropy of recent answers in nats, by decision and in the mean.

        0 stands for the same answer in all of the last trials.
        """
        found = [_entropy(answers) for answers in zip(*self._recent)]
        by_decision = {f"entropy of recent answers/{name}": value for name, value in zip(self._names, found)}
        return {"entropy of recent answers": sum(found) / len(found), **by_decision} if found else {}

    def scalars(self, values, step):
        """Writes a dict from name to float."""
        from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary
        from tensorboard.plugins.scalar.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        summary = Summary()
        for name, value in values.items():
            metadata = create_summary_metadata(display_name="", description="")
            metadata.data_class = DATA_CLASS_SCALAR
            summary.value.add(tag=name, tensor=make_tensor_proto(float(value), dtype="float32"), metadata=metadata)
        self._add(summary, step)

    def picture(self, name, path, step):
        """Writes a picture, a .png file."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_BLOB_SEQUENCE, Summary
        from tensorboard.plugins.image.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        with Image.open(path) as image:
            width, height = image.size
        with open(path, "rb") as file:
            content = file.read()
        metadata = create_summary_metadata(display_name="", description="", converted_to_tensor=True)
        metadata.data_class = DATA_CLASS_BLOB_SEQUENCE
        tensor = make_tensor_proto([str(width).encode(), str(height).encode(), content])
        summary = Summary()
        summary.value.add(tag=name, tensor=tensor, metadata=metadata)
        self._add(summary, step)

    def _add(self, summary, step):
        from tensorboard.compat.proto.event_pb2 import Event

        if self._writer is not None:
            self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
            self._writer.flush()


def _entropy(answers):
    shares = [count / len(answers) for count in collections.Counter(answers).values()]
    return -sum(share * math.log(share) for share in shares)
