"""Makes the library of one width of an accuracy table.

The parent is fine-tuned. For each of its blocks, everything that the space offers in its place inherits from it, is
trained to give the same maps, and keeps the better of these weights. Then networks of such blocks are trained briefly,
to fit what their damage means, and others to test the fit. Every step's result is kept at once, so that the same call
goes on where one stopped.
"""

import dataclasses

import numpy as np

from nas_tf import resume
from nas_tf.accuracy import standard_error
from nas_tf.accuracy_tables import jobs, prediction
from nas_tf.bars import progress_bar
from nas_tf.files import JsonLines
from nas_tf.networks import accuracy_table as tables
from nas_tf.networks.accuracy_table import AccuracyTable, Alternative, Library
from nas_tf.quiet import count
from nas_tf.trial import EvaluationError, OwnFileError, UserError

_GROUP = 8  # alternatives that one call repairs
_RATES = (0.25, 0.5, 0.75, 1.0)  # shares of the blocks of a network drawn that are changed
_LEAST_NETWORKS = {"fitted": 8, "tested": 3}


class Making:
    """The library of one width in the making.

    Args:
        plan: the `nas_tf.accuracy_tables.builder.AccuracyPlan`.
        folder: `pathlib.Path` of the table's folder.
        width: of the library.
        processes: what makes calls, as `nas_tf.recycling.Processes` does.
        say: takes each line of text.
    """

    def __init__(self, plan, folder, width, processes, say):
        self._plan, self._width, self._processes, self._say = plan, width, processes, say
        self._folder = folder / tables.library_name(width)
        self._space = plan.space.space
        self._parent = jobs.parent_at(plan, width)
        self._alternatives = JsonLines(self._folder / "alternatives.jsonl", ("block", "text"))
        self._networks = JsonLines(self._folder / "networks.jsonl", ("kind", "number"))

    def library(self):
        """Makes the `nas_tf.networks.accuracy_table.Library`, or goes on with that, and returns it."""
        space, plan = self._space, self._plan
        self._run(
            {"parent": (jobs.prepare, plan, self._folder.parent, self._width)}, "fine-tuning the parent", self._ignore
        )
        choices = space.block_choices(self._parent)
        self._repair(choices)
        blocks = self._found(choices)
        return self._fitted(blocks)

    def _ignore(self, key, value):
        """Does nothing: what came of it is in files."""

    def _run(self, calls, what, then):
        """Makes calls in other processes, and calls `then(key, value)` of each that ends well."""
        if not calls:
            return
        done = progress_bar(self._processes.run(calls), total=len(calls), desc=what, unit="job")
        for key, value, failure in done:
            if failure is not None:
                done.close()
                raise (
                    failure
                    if isinstance(failure, (UserError, OwnFileError))
                    else EvaluationError(f"{what}: {key} failed: {failure}")
                )
            then(key, value)

    def _repair(self, choices):
        calls = {}
        for number, (block, offered) in enumerate(zip(self._space.blocks(self._parent), choices), 1):
            missing = [each for each in offered if each != block and (number, str(each)) not in self._alternatives]
            for first in range(0, len(missing), _GROUP):
                group = missing[first : first + _GROUP]
                key = f"block{number}, {first + len(group)} of {len(missing)}"
                calls[key] = jobs.repair_group, self._plan, self._folder.parent, self._width, number, group
        num_repaired = sum(len(each) - 1 for each in choices)
        self._run(calls, f"repairing {count(num_repaired, 'block')}", lambda _, found: self._keep(found))

    def _keep(self, found):
        for line in found:
            self._alternatives.add(line)

    def _found(self, choices):
        """Returns a tuple with a dict for each block from text to `Alternative`. Those that diverged are left out."""
        blocks, left_out = [], []
        for number, (own, offered) in enumerate(zip(self._space.blocks(self._parent), choices), 1):
            found = {str(own): Alternative(0.0, 0.0, "own")}
            for each in offered:
                line = self._alternatives.get((number, str(each)))
                if line is None:
                    continue
                if line["failure"]:
                    left_out.append(f"block {number}: {each}: {line['failure']}")
                else:
                    found[str(each)] = Alternative(*(line[name] for name in ("loss", "divergence", "kept", "file")))
            if len(found) == 1 and len(offered) > 1:
                self._say(f"block {number} stays the parent's: nothing in its place could be trained")
            blocks.append(found)
        if left_out:
            self._say(f"{count(len(left_out), 'block')} left out: {'; '.join(left_out[:3])}")
        return tuple(blocks)

    def _fitted(self, blocks):
        plan, space = self._plan, self._space
        networks = {
            (kind, number): architecture
            for kind, drawn in draw_networks(space, self._parent, blocks, plan).items()
            for number, architecture in enumerate(drawn)
        }
        table = self._draft(blocks)
        calls = {
            f"{kind} {number}": (jobs.train_network, plan, table, architecture)
            for (kind, number), architecture in networks.items()
            if (kind, number) not in self._networks
        }
        for key, architecture in networks.items():
            known = self._networks.get(key)
            if known and known["text"] != str(architecture):
                raise UserError(
                    f"{self._folder / 'networks.jsonl'} has {known['text']} where {architecture} is now: other blocks "
                    "were repaired when it was written. Remove that file, and its networks are trained anew"
                )

        def keep(key, value):
            kind, number = key.split()
            text = str(networks[kind, int(number)])
            self._networks.add({"kind": kind, "number": int(number), "text": text, **value})

        self._run(calls, f"training {count(len(networks), 'network')} briefly", keep)
        return self._fit(blocks, networks)

    def _draft(self, blocks):
        """Returns a table with this library alone, whose predictions are not fitted yet."""
        plan = self._plan
        library = Library(self._width, self._parent.to_json(), blocks, {}, (0.0,) * len(blocks), {})
        scales = (resume.as_json(dataclasses.asdict(each)) for each in (plan.scale, plan.deploy_scale))
        path = self._folder.parent.with_suffix(".json")
        parent, training = jobs.published(plan).facts(), dataclasses.asdict(plan.training)
        return AccuracyTable(path, plan.space.to_json(), parent, *scales, {}, training, (library,))

    def _fit(self, blocks, networks):
        values = {key: self._networks.get(key) for key in networks}
        diverged = [key for key in networks if values[key]["failure"]]
        sizes_of = {
            key: self._space.image_size(networks[key]) or self._plan.deploy_scale.image_size for key in networks
        }
        fitted = {sizes_of[key] for key in networks if key[0] == "fitted" and key not in diverged}
        diverged += [key for key in networks if key not in diverged and sizes_of[key] not in fitted]
        rows = {kind: [key for key in networks if key[0] == kind and key not in diverged] for kind in _LEAST_NETWORKS}
        for kind, least in _LEAST_NETWORKS.items():
            if len(rows[kind]) < least:
                raise EvaluationError(
                    f"of the networks that are {kind} only {len(rows[kind])} could be trained; expected {least} at "
                    f"least. One failed with: {values[diverged[0]]['failure']}"
                )
        if diverged:
            self._say(f"{count(len(diverged), 'network')} left out: {values[diverged[0]]['failure']}")

        def table_of(keys):
            return (
                [sizes_of[key] for key in keys],
                [self._damages(blocks, networks[key]) for key in keys],
                [values[key]["accuracy"] for key in keys],
            )

        sizes, damages, reached = table_of(rows["tested"])
        predicted = prediction.fit(*table_of(rows["fitted"])).predict(sizes, damages)
        validation = prediction.compare(predicted, reached)
        validation["standard_error_points"] = 100 * float(
            np.mean([standard_error(each, values[key]["num_images"]) for key, each in zip(rows["tested"], reached)])
        )
        validation["networks"] = [
            {"architecture": str(networks[key]), "predicted": float(each), **values[key]}
            for key, each in zip(rows["tested"], predicted)
        ]
        # Tested, it is fitted once more, on all of them: what an image size costs is a point or two, as large as the
        # noise of one network.
        found = prediction.fit(*table_of([key for kept in rows.values() for key in kept]))
        facts = {
            "validation": validation,
            "fitted": [{"architecture": str(networks[key]), **values[key]} for key in rows["fitted"]],
            "penalty": found.penalty,
            "cross_validated_points": found.cross_validated_points,
        }
        return Library(self._width, self._parent.to_json(), blocks, found.sizes, found.weights, facts)

    def _damages(self, blocks, architecture):
        return [
            tables.damage(alternatives[str(block)])
            for block, alternatives in zip(self._space.blocks(architecture), blocks)
        ]


def draw_networks(space, parent, blocks, plan):
    """Returns a dict with the networks that are `fitted`, and those that are `tested`.

    The parent at every image size is among the first. The others are drawn at random: a size, a share of the blocks
    that are changed, and what stands in their place.

    Args:
        space: the search space.
        parent: the architecture of the library's parent.
        blocks: tuple with a dict for each block whose keys are the texts of what there is.
        plan: the `AccuracyPlan`.
    """
    thoroughness = plan.thoroughness
    rng = np.random.default_rng(plan.seed)
    sizes = [None, *plan.image_sizes]
    own = space.blocks(parent)
    offered = [
        [block for block in choices if str(block) in known and block != mine]
        for choices, known, mine in zip(space.block_choices(parent), blocks, own)
    ]
    found = {space.assembled(parent, own, size): None for size in sizes}
    wanted = len(found) + thoroughness.num_fitted + thoroughness.num_tested
    for _ in range(100 * wanted):
        rate = rng.choice(_RATES)
        size = sizes[rng.integers(len(sizes))]
        chosen = [
            choices[rng.integers(len(choices))] if choices and rng.random() < rate else mine
            for choices, mine in zip(offered, own)
        ]
        found[space.assembled(parent, chosen, size)] = None
        if len(found) == wanted:
            break
    else:
        raise UserError(
            f"There are only {len(found)} different networks of what was repaired. Expected {wanted}: ask for fewer "
            "with --num_fitted and --num_tested"
        )
    drawn = list(found)
    return {"fitted": drawn[: -thoroughness.num_tested], "tested": drawn[-thoroughness.num_tested :]}
