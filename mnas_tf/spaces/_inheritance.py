"""Which layer of a parent of the MnasNet family answers to which layer of a child."""

from nas_tf.networks.inheritance import Counterpart
from nas_tf.trial import UserError


def counterparts(architecture, parent):
    """Returns a tuple of the `nas_tf.networks.inheritance.Counterpart` of each unit of a `MnasNet` in order.

    Layers of a block answer to one another by their number. Further ones begin as copies of the parent's last. Where
    there are fewer, the last stands for all that are left out. Layers of another operation have nothing in common.

    Raises:
        UserError: the two have not as many blocks, or other strides or another stem.
    """
    _check(architecture, parent)
    found, border = [Counterpart("stem", "stem", "stem", "stem")], "stem"
    for number, (block, old) in enumerate(zip(architecture.blocks, parent.blocks), 1):
        skips = [each.layers()[0][2] != "none" for each in (block, old)]
        # Where both networks add a block's input to its first output, both have the channels of the block before.
        border = border if all(skips) else f"block{number}"
        for layer in range(1, block.repeats + 1):
            answered = old.repeats if layer == block.repeats else min(layer, old.repeats)
            added = layer > old.repeats
            # The first layer of a block reads other channels: no copy of it can be added.
            copied = block.op == old.op and not (added and old.repeats == 1)
            found.append(
                Counterpart(
                    name=f"block{number}_layer{layer}",
                    parent=f"block{number}_layer{min(layer, old.repeats)}" if copied else None,
                    target=f"block{number}_layer{answered}",
                    border=border,
                    added=added,
                )
            )
    return (*found, Counterpart("head", "head", "head", "head"))


def _check(architecture, parent):
    for what, ours, theirs in (
        ("number of blocks", *(len(each.blocks) for each in (architecture, parent))),
        ("strides", *(tuple(block.strides for block in each.blocks) for each in (architecture, parent))),
        ("stem filters", *(each.stem_filters for each in (architecture, parent))),
    ):
        if ours != theirs:
            raise UserError(
                f"Expected a parent with the child's {what}, {ours}. Received: {theirs}. Choose a parent of the space"
            )
