"""How far an accuracy can be trusted: its standard error, and what guessing would reach."""

import dataclasses
import math

_APART = 2.0  # standard errors of a difference


def standard_error(accuracy, num_examples):
    """Returns the standard error of an accuracy in [0, 1] that was measured on `num_examples` images.

    It is that of a binomial share, sqrt(p (1 - p) / n). It covers the choice of images, not that of initial weights.
    """
    return math.sqrt(max(0.0, accuracy * (1 - accuracy)) / num_examples)


def are_apart(one, other, error, other_error):
    """Returns whether two accuracies differ by over two standard errors of their difference.

    `error` and `other_error` are their standard errors; where one is None, nothing can be said, and it returns True.
    """
    return None in (error, other_error) or abs(one - other) > _APART * math.hypot(error, other_error)


def p_value(ours, theirs):
    """Returns how likely a lead as large as ours over theirs would be if neither network were better.

    Both were asked about the same images. Where their answers differ either is equally likely to be right: McNemar's
    test, one-sided, without a correction for continuity. Where several trainings were asked, an image counts with the
    share of them that were right.

    Args:
        ours, theirs: float or bool [n], 1 for each image that was answered right.
    """
    differences = [float(one) - float(other) for one, other in zip(ours, theirs, strict=True)]
    spread = math.sqrt(sum(each * each for each in differences))
    return 0.5 * math.erfc(sum(differences) / spread / math.sqrt(2)) if spread else 0.5


def shrunk(accuracies, errors):
    """Returns what several networks can be expected to reach on other images: accuracies drawn to their mean.

    The best of many has been lucky too. Each accuracy keeps that share of its distance from the mean by which networks
    differ beyond their standard errors (empirical Bayes for normal means, Efron and Morris 1975).

    Args:
        accuracies: list of float in [0, 1].
        errors: their standard errors.
    """
    mean = sum(accuracies) / len(accuracies)
    if len(accuracies) < 2:
        return list(accuracies)
    seen = sum((each - mean) ** 2 for each in accuracies) / (len(accuracies) - 1)
    real = max(0.0, seen - sum(error**2 for error in errors) / len(errors))
    return [
        mean + (each - mean) * (real / (real + error**2) if real else 0.0) for each, error in zip(accuracies, errors)
    ]


@dataclasses.dataclass(frozen=True)
class Chance:
    """What guessing reaches on a split.

    Attributes:
        share: of its largest class, in (0, 1]; where the labels are not known, 1 / number of classes.
        num_examples: images in the split.
    """

    share: float
    num_examples: int

    @property
    def bound(self):
        """float: what an accuracy must exceed, which is the share and its standard error."""
        return self.share + standard_error(self.share, self.num_examples)

    def is_beaten_by(self, accuracy):
        """Returns whether an accuracy in [0, 1] lies above the share and its standard error."""
        return accuracy > self.bound

    def __str__(self):
        return f"guessing reaches {text(self.share, self.num_examples)} of {self.num_examples:,} images"


def num_examples_of(facts, split="validation"):
    """Returns how many images a split has, or None where that is not known; `facts` as for `chance_of`."""
    return facts.get("num_examples", {}).get(split)


def chance_of(facts, split="validation"):
    """Returns the `Chance` of a split, or None where it is not known.

    Args:
        facts: what `nas_tf.datasets.Dataset.facts()` returns. That of an earlier version holds no share.
        split: `"validation"` or `"test"`.
    """
    share, num_examples = facts.get("largest_class", {}).get(split), num_examples_of(facts, split)
    return Chance(share, num_examples) if share and num_examples else None


def text(accuracy, num_examples=None, error=None):
    """Returns an accuracy in percent with its standard error, as in "72.5 ± 1.2 %"; without one if none is known."""
    if error is None and num_examples:
        error = standard_error(accuracy, num_examples)
    return f"{100 * accuracy:.1f}" + ("" if error is None else f" ± {100 * error:.1f}") + " %"
