"""The exact best networks by an accuracy table and a latency table, by dynamic programming over blocks.

Both tables add up over blocks at one image size, so that a network that is best for its latency consists of parts that
are. Block by block, what others beat in both is left out, and nothing else is: the result is exact.
"""

import dataclasses
import heapq
import math

import numpy as np

from nas_tf.trial import UserError

_TOLERANCE = 1e-6  # of a latency, between the sum over blocks and the table's own
_LEAST_CHANGES = 2  # parts in which two networks of one list differ
_KEPT = 10  # networks for each one that is asked for, among which they are chosen


@dataclasses.dataclass(frozen=True)
class Choice:
    """A network, and what both tables say of it: `accuracy` in [0, 1], and `latency_ms`."""

    architecture: object
    accuracy: float
    latency_ms: float


class Chooser:
    """Both tables, added up over blocks.

    Args:
        predictor: the `nas_tf.networks.accuracy_table.Predictor`.
        device: a `nas_tf.devices.Estimator` that adds up latencies.
    """

    def __init__(self, predictor, device):
        self._predictor, self._device, self._space = predictor, device, predictor.space
        self._parts = []
        for parent, library, costs in predictor.parts():
            for size in library.sizes:
                self._parts.append((parent, None if size == predictor.own_size else size, library.sizes[size], costs))

    def front(self):
        """Returns the exact front: a list of `Choice`s, the fastest first, each more accurate than all before it."""
        found = sorted(self._all(1), key=lambda each: (each.latency_ms, -each.accuracy))
        front = []
        for each in found:
            if not front or each.accuracy > front[-1].accuracy:
                front.append(each)
        return front

    def best(self, target_ms, count):
        """Returns the `count` most accurate networks within a latency, the best first.

        The first is the exact best. Any two of them differ in two blocks at least, or in the image size and a block:
        networks that are nearly one would be right or wrong together. The others are the next ones of that kind among
        those that few beat in both, ten for each one that is asked for.

        Args:
            target_ms: latency in milliseconds.
            count: how many, if there are as many.

        Raises:
            UserError: no network is as fast. It says the range of both tables.
        """
        found = self._all(_KEPT * count)
        within = sorted(
            (each for each in found if each.latency_ms <= target_ms), key=lambda each: (-each.accuracy, each.latency_ms)
        )
        if not within:
            low, high = (pick(each.latency_ms for each in self.front()) for pick in (min, max))
            raise UserError(
                f"Expected a target within both tables, {low:.3g} to {high:.3g} ms. Received: {target_ms:g} ms"
            )
        chosen = []
        for each in within:
            if all(self._changes(each, other) >= _LEAST_CHANGES for other in chosen):
                chosen.append(each)
            if len(chosen) == count:
                break
        return chosen

    def _changes(self, one, other):
        blocks = [self._space.blocks(each.architecture) for each in (one, other)]
        sizes = [self._space.image_size(each.architecture) for each in (one, other)]
        return sum(a != b for a, b in zip(*blocks)) + (sizes[0] != sizes[1])

    def _all(self, count):
        """Returns the `Choice`s that fewer than `count` others beat in both, at each size and width."""
        return [each for part in self._parts for each in self._of_part(*part, count)]

    def _of_part(self, parent, size, accuracy, costs, count):
        space, own = self._space, list(self._space.blocks(parent))

        def latency_of(blocks):
            return self._device.estimate([space.assembled(parent, blocks, size)])[0]

        base = latency_of(own)
        ms, lost, back = np.array([base]), np.array([0.0]), [np.empty((1, 0), int)]
        offered = [list(each) for each in costs]
        for number, choices in enumerate(offered):
            added = [latency_of([*own[:number], each, *own[number + 1 :]]) - base for each in choices]
            less = [costs[number][each] for each in choices]
            all_ms, all_lost = (np.add.outer(a, b).ravel() for a, b in ((ms, np.array(added)), (lost, np.array(less))))
            kept = skyband(all_ms, all_lost, count)
            row, choice = np.divmod(kept, len(choices))
            ms, lost = all_ms[kept], all_lost[kept]
            back = [np.hstack([back[0][row], choice[:, None]])]
        found = []
        for one_ms, one_lost, chosen in zip(ms, lost, back[0]):
            architecture = space.assembled(parent, [each[i] for each, i in zip(offered, chosen)], size)
            found.append(Choice(architecture, min(1.0, max(0.0, accuracy - float(one_lost))), float(one_ms)))
        for each in found[:: max(1, len(found) // 8)]:
            exact = self._device.estimate([each.architecture])[0]
            if not math.isclose(exact, each.latency_ms, rel_tol=_TOLERANCE):
                raise UserError(
                    f"Expected latencies that add up over blocks. Received: {each.latency_ms:.6g} ms by blocks and "
                    f"{exact:.6g} ms for {each.architecture}"
                )
        return found


def skyband(costs, losses, count):
    """Returns the numbers of the points that fewer than `count` others are at least as good as in both, by cost.

    Args:
        costs, losses: float [n]; less is better. Of equal points the first counts as better.
        count: 1 keeps the front.
    """
    order = np.lexsort((losses, costs))
    if count == 1:
        sorted_losses = losses[order]
        before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_losses)[:-1]])
        return order[sorted_losses < before]
    kept, least = [], []  # `least`: the negated `count` smallest losses so far
    for index, value in zip(order.tolist(), losses[order].tolist()):
        if len(least) < count:
            heapq.heappush(least, -value)
        elif value < -least[0]:
            heapq.heapreplace(least, -value)
        else:
            continue
        kept.append(index)
    return np.array(kept)
