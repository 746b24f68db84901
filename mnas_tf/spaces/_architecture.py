"""A MnasNet as plain data: its blocks, their strings in Google's notation, JSON; no Keras."""

import dataclasses
import functools
import re

from nas_tf.space import fingerprint
from nas_tf.trial import UserError

CONV_OPS = ("conv", "sepconv", "mbconv")
SKIP_OPS = ("none", "identity", "pool")
HEAD_FILTERS = 1280
_FORM = "r1_k3_s11_e1_i32_o16, with _se0.25, _conv, _pool or _noskip behind where they apply"


@dataclasses.dataclass(frozen=True)
class Block:
    """`repeats` layers of one kind; the first reads `input_filters` and has the `strides`, the others keep the shape.

    Raises:
        UserError: a value is none that a network can be built from.
    """

    op: str
    repeats: int
    kernel_size: int
    strides: int
    expansion_ratio: int
    input_filters: int
    filters: int
    se_ratio: float = 0.0
    skip: str = "identity"

    def __post_init__(self):
        for name, allowed in (("op", CONV_OPS), ("skip", SKIP_OPS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"Expected {name} to be one of {allowed}. Received: {name}={getattr(self, name)!r}")
        for name in ("repeats", "kernel_size", "strides", "expansion_ratio", "input_filters", "filters"):
            check_whole(name, getattr(self, name))
        if self.strides > 9:
            raise UserError(f"Expected strides from 1 to 9. Received: strides={self.strides}")
        if not (isinstance(self.se_ratio, (int, float)) and 0 <= self.se_ratio <= 1):
            raise UserError(f"Expected se_ratio from 0 to 1. Received: se_ratio={self.se_ratio!r}")
        object.__setattr__(self, "se_ratio", float(self.se_ratio))
        if self.op != "mbconv":
            object.__setattr__(self, "expansion_ratio", 1)
        elif self.expansion_ratio == 1:
            object.__setattr__(self, "op", "sepconv")
        object.__setattr__(self, "_hash", hash(self._fields))  # latency tables look up thousands of blocks a second

    def __hash__(self):
        return self._hash

    def __reduce__(self):
        return Block, self._fields  # hashes of strings differ from process to process

    @property
    def _fields(self):
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def layers(self):
        """[(input_filters, strides, skip), ...], one a layer: the skip is the one that this layer really takes."""
        shapes = [(self.input_filters, self.strides)] + [(self.filters, 1)] * (self.repeats - 1)
        return [
            (inputs, strides, self.skip if inputs == self.filters and (strides == 1 or self.skip == "pool") else "none")
            for inputs, strides in shapes
        ]

    @property
    def canonical(self):
        """The same layers, with skip `none` where none of them takes the skip."""
        if self.skip == "none" or any(skip != "none" for _, _, skip in self.layers()):
            return self
        return dataclasses.replace(self, skip="none")

    def __str__(self):
        """Google's block string; its words have no form for `conv` and `pool`, which are written as such."""
        return "".join((
            f"r{self.repeats}_k{self.kernel_size}_s{self.strides}{self.strides}_e{self.expansion_ratio}",
            f"_i{self.input_filters}_o{self.filters}",
            f"_se{self.se_ratio}" if self.se_ratio else "",
            "_conv" if self.op == "conv" else "",
            {"none": "_noskip", "identity": "", "pool": "_pool"}[self.skip],
        ))  # fmt: skip

    @classmethod
    def parse(cls, text):
        """The block of a string such as `r3_k5_s22_e3_i24_o40_se0.25`: no word for the skip means `identity`.

        Raises:
            UserError: the string has another form.
        """
        values = {}
        for word in text.strip().split("_"):
            key, value = re.fullmatch(r"([a-z]*)(.*)", word).groups()
            known = value == "" if key in ("conv", "pool", "noskip") else key in ("r", "k", "s", "e", "i", "o", "se")
            if not known or key in values:
                raise UserError(f"Expected a block as {_FORM}. Received: {word!r} in {text!r}")
            values[key] = value
        missing = [key for key in "rkseio" if key not in values]
        if missing or ("pool" in values and "noskip" in values):
            what = f"no {missing[0]!r}" if missing else "both pool and noskip"
            raise UserError(f"Expected a block as {_FORM}. Received: {what} in {text!r}")
        if not re.fullmatch(r"([1-9])\1", values["s"]):
            raise UserError(f"Expected a stride from 1 to 9, twice, as s22. Received: s{values['s']} in {text!r}")
        try:
            repeats, kernel, expansion, inputs, filters = (int(values[key]) for key in "rkeio")
            se_ratio = float(values.get("se", 0))
        except ValueError:
            raise UserError(f"Expected a block as {_FORM}. Received: {text!r}")
        return cls(
            op="conv" if "conv" in values else "mbconv",
            repeats=repeats,
            kernel_size=kernel,
            strides=int(values["s"][0]),
            expansion_ratio=expansion,
            input_filters=inputs,
            filters=filters,
            se_ratio=se_ratio,
            skip="pool" if "pool" in values else "none" if "noskip" in values else "identity",
        )


@dataclasses.dataclass(frozen=True)
class MnasNet:
    """A network of the family, in canonical form: stem, blocks, head, classifier.

    The stem is a 3 x 3 convolution of stride 2 to the first block's input filters; the head a 1 x 1 convolution to
    `head_filters`. `str()` is the block strings with a space between, and `headN` behind where N is not 1280.

    Raises:
        UserError: there is no block, or a block does not read what the one before it gives.
    """

    blocks: tuple[Block, ...]
    head_filters: int = HEAD_FILTERS

    def __post_init__(self):
        check_whole("head_filters", self.head_filters)
        if not self.blocks:
            raise UserError("Expected at least one block. Received: blocks=()")
        for number, (before, block) in enumerate(zip(self.blocks, self.blocks[1:]), 2):
            if block.input_filters != before.filters:
                raise UserError(
                    f"Expected block {number} to read the {before.filters} filters of the block before it. "
                    f"Received: input_filters={block.input_filters}"
                )
        object.__setattr__(self, "blocks", tuple(block.canonical for block in self.blocks))

    @property
    def stem_filters(self):
        return self.blocks[0].input_filters

    @functools.cached_property
    def fingerprint(self):
        return fingerprint(self.to_json())

    def __str__(self):
        head = "" if self.head_filters == HEAD_FILTERS else f" head{self.head_filters}"
        return " ".join(map(str, self.blocks)) + head

    @classmethod
    def parse(cls, text):
        """The network of `str()`'s form; commas may stand in place of spaces.

        Raises:
            UserError: the text has another form.
        """
        words = re.split(r"[\s,]+", text.strip(" \n\t,"))
        head = HEAD_FILTERS
        if re.fullmatch(r"head\d+", words[-1]):
            head = int(words.pop()[len("head") :])
        return cls(tuple(Block.parse(word) for word in words), head)

    def to_json(self):
        return {"blocks": [dataclasses.asdict(block) for block in self.blocks], "head_filters": self.head_filters}

    @classmethod
    def from_json(cls, value):
        """The network whose `to_json()` gave `value`.

        Raises:
            UserError: `value` has another form.
        """
        value = _check_keys("a MnasNet", cls, value)
        if not isinstance(value["blocks"], (list, tuple)):
            raise UserError(f"Expected a list of blocks. Received: blocks={value['blocks']!r}")
        blocks = tuple(Block(**_check_keys("a block", Block, block)) for block in value["blocks"])
        return cls(blocks, value["head_filters"])


def check_whole(name, value):
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"Expected {name} to be a whole number above 0. Received: {name}={value!r}")


def _check_keys(what, cls, value):
    names = [field.name for field in dataclasses.fields(cls)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise UserError(f"Expected the JSON of {what} to have {names}. Received: {str(value)[:200]}")
    return value
