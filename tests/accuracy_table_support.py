"""A small accuracy table, made once, with stops on the way."""

import dataclasses

import numpy as np
from parent_support import heirs_task
from support import eagerly

from nas_tf.accuracy_tables import builder
from nas_tf.files import JsonLines
from nas_tf.networks.folder import read_keras
from nas_tf.plugins import Part
from nas_tf.training.children import ChildTraining, child_scale

SIZES = (12,)


class Stopped(Exception):
    pass


def task_of(parent, description):
    """The judge's task whose space offers the image sizes of the table."""
    task = heirs_task(parent, description, samples=300)
    return dataclasses.replace(task, space=dataclasses.replace(task.space, settings={"image_sizes": SIZES}))


def space_of(table):
    return Part(**{**table.space, "settings": {"image_sizes": SIZES}}).space


def parent_of(table, space):
    return space.architecture(table.libraries[0].architecture)


def fine_tuned(table, library="width_1"):
    return read_keras(table.folder / library / "parent" / "parent.keras")


def images(count=20):
    return np.random.default_rng(0).uniform(-1, 1, (count, 16, 16, 3)).astype("float32")


def plan_of(parent, description, **changes):
    """The `AccuracyPlan` of a small table of the folder `parent`: digits of 16 px, and of 12."""
    task = task_of(parent, description)
    plan = builder.AccuracyPlan(
        space=task.space,
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
