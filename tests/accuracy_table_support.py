"""A small accuracy table, made once, with stops on the way."""

import dataclasses

from parent_support import heirs_task
from support import eagerly

from nas_tf.accuracy_tables import builder
from nas_tf.files import JsonLines
from nas_tf.training.children import ChildTraining, child_scale

SIZES = (12,)


class Stopped(Exception):
    pass


def plan_of(parent, description, **changes):
    """The `AccuracyPlan` of a small table of the folder `parent`: digits of 16 px, and of 12."""
    task = heirs_task(parent, description, samples=300)
    plan = builder.AccuracyPlan(
        space=dataclasses.replace(task.space, settings={"image_sizes": SIZES}),
        images=task.images,
        scale=child_scale(task.proxy_scale, task.deploy_scale),
        deploy_scale=task.deploy_scale,
        num_samples=task.proxy_samples,
        published=task.published,
        parent=task.parent,
        training=ChildTraining(parent_epochs=1, batch_size=64, validation_samples=100),
        thoroughness=builder.Thoroughness(repair_steps=10, num_fitted=10, num_tested=4),
        num_workers=0,
    )
    return dataclasses.replace(plan, **changes)


def make_with_stops(plan, path, patch, every=3):
    """Makes a table, and stops after every third result; returns the table and the number of results."""
    real, kept = JsonLines.add, []

    def add(lines, value):
        real(lines, value)
        kept.append(value)
        if len(kept) % every == 0:
            raise Stopped

    with eagerly(), patch.context() as context:
        context.setattr(JsonLines, "add", add)
        while True:
            try:
                return builder.build(plan, path, say=lambda line: None), len(kept)
            except Stopped:
                pass
