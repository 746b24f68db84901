"""How images are divided into splits: every draw is stratified by class."""

import numpy as np

from nas_tf.trial import UserError


def drawn_fractions(fractions, num_images):
    """Returns the fractions of the splits that are drawn, with the default in the place of None.

    The default is the usual share of validation: a tenth of the training images, at least 1,000 where that leaves four
    fifths for training, else a fifth.

    Args:
        fractions: dict from each split that is drawn to its share of the training images, or None.
        num_images: how many training images there are before anything is drawn.

    Raises:
        UserError: nothing would remain for training.
    """
    default = max(0.1, min(1000 / max(1, num_images), 0.2))
    drawn = {split: default if fraction is None else fraction for split, fraction in fractions.items()}
    check_fractions(**{f"{split}_fraction": fraction for split, fraction in drawn.items()})
    return drawn


def check_fractions(**fractions):
    """Raises `nas_tf.trial.UserError` unless each fraction is > 0 and something remains for training."""
    if not all(value > 0 for value in fractions.values()) or not sum(fractions.values()) < 1:
        received = ", ".join(f"{name}={value}" for name, value in fractions.items())
        raise UserError(f"Expected fractions > 0 of the images, together < 1. Received: {received}")


def partition(labels, class_names, fractions, num_samples, seed):
    """Draws splits, such as validation and test, and a train split from what they leave over.

    Every draw is stratified: a class has its share of each split to within one image, and at least one image. The other
    splits do not depend on `num_samples`. Except for rounding, the train split of a smaller `num_samples` lies within
    that of a larger one.

    Args:
        labels: int [n], each in [0, len(class_names)).
        class_names: names of the classes.
        fractions: dict from each split to its share of all n images, as in `{"test": 0.2, "validation": 0.1}`.
        num_samples: images in the train split; 0: all that are left.
        seed: decides what is drawn.

    Returns:
        dict from each split's name, and `"train"`, to int64 [count] indices into `labels`, ascending.

    Raises:
        UserError: there is only one class, a class has too few images, or `num_samples` is less than the number of
            classes.
    """
    sizes = np.bincount(labels, minlength=len(class_names))
    check_classes(class_names, num_samples)
    _check_sizes(sizes, class_names, [*fractions, "train"])
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(group) for group in np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])]
    counts = {part: round(fraction * len(labels)) for part, fraction in fractions.items()}
    counts["train"] = num_samples or len(labels)
    used, indices = np.zeros_like(sizes), {}
    for i, (part, count) in enumerate(counts.items()):
        parts_after = len(counts) - 1 - i
        quotas = _quotas(sizes - used, count, sizes - used - parts_after)
        chosen = [group[start : start + quota] for group, start, quota in zip(by_class, used, quotas)]
        indices[part] = np.sort(np.concatenate(chosen))
        used = used + quotas
    return indices


def check_classes(class_names, num_samples):
    """Raises `nas_tf.trial.UserError` unless there are two classes, and a sample of each is asked for."""
    if len(class_names) < 2:
        raise UserError(f"Expected at least two classes. Received: one, {class_names[0]!r}. Add images of another")
    if 0 < num_samples < len(class_names):
        raise UserError(
            f"Expected num_samples (--proxy_samples) to be 0 for all images, or at least one for each of the "
            f"{len(class_names)} classes. Received: num_samples={num_samples}"
        )


def _check_sizes(sizes, class_names, parts):
    rarest = int(np.argmin(sizes))
    if sizes[rarest] < len(parts):
        raise UserError(
            f"Expected at least {len(parts)} images of every class, one each for {', '.join(parts)}. "
            f"Received: {sizes[rarest]} of class {class_names[rarest]!r}. Add images or leave the class out"
        )


def _quotas(available, count, most):
    """Returns int [classes] with sum `count`, as near to the classes' shares as numbers from 1 to `most` allow."""
    count = np.clip(count, len(most), most.sum())
    share = available * count / available.sum()
    quotas = np.clip(np.floor(share).astype(int), 1, most)
    while (missing := count - quotas.sum()) != 0:
        step = np.sign(missing)
        movable = quotas < most if step > 0 else quotas > 1
        quotas[np.argmax(np.where(movable, step * (share - quotas), -np.inf))] += step
    return quotas
