"""A MnasNet as plain data: its blocks, their strings in Google's notation, and JSON. Imports no Keras."""

import dataclasses
import functools
import re

from nas_tf.space import fingerprint
from nas_tf.trial import UserError

CONV_OPS = ("conv", "sepconv", "mbconv")
SKIP_OPS = ("none", "identity", "pool")
HEAD_FILTERS = 1280
# Beyond these no network is meant, and a few digits of a file would take gigabytes.
_MOST = {
    "repeats": 64,
    "kernel_size": 31,
    "strides": 9,
    "expansion_ratio": 64,
    "input_filters": 65_536,
    "filters": 65_536,
    "image_size": 4096,
}
_MOST_BLOCKS = 128
_MOST_DIGITS = 9  # of a number in a block string
_FORM = "r1_k3_s11_e1_i32_o16, with _se0.25, _conv, _pool or _noskip at its end where they apply"


@dataclasses.dataclass(frozen=True)
class Block:
    """Some layers of one kind. The first has the strides; the others keep the shape of what they read.

    Attributes:
        op: the operation, one of `CONV_OPS`.
        repeats: how many layers.
        kernel_size: height and width of the kernel.
        strides: stride of the first layer.
        expansion_ratio: of `mbconv`; it is 1 for the other operations.
        input_filters: channels that the first layer reads.
        filters: channels that each layer returns.
        se_ratio: ratio of squeeze-and-excitation; 0: there is none.
        skip: what is added to the output of a layer, one of `SKIP_OPS`.

    Raises:
        UserError: no network can be built with one of these values.
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
            check_whole(name, getattr(self, name), _MOST[name])
        if self.strides > 9:
            raise UserError(f"Expected strides from 1 to 9. Received: strides={self.strides}")
        if not (isinstance(self.se_ratio, (int, float)) and 0 <= self.se_ratio <= 1):
            raise UserError(f"Expected se_ratio from 0 to 1. Received: se_ratio={self.se_ratio!r}")
        object.__setattr__(self, "se_ratio", float(self.se_ratio))
        if self.op != "mbconv":
            object.__setattr__(self, "expansion_ratio", 1)
        elif self.expansion_ratio == 1:
            object.__setattr__(self, "op", "sepconv")
        object.__setattr__(self, "_hash", hash(self._fields))  # a latency table looks up thousands of blocks a second

    def __hash__(self):
        return self._hash

    def __reduce__(self):
        return Block, self._fields  # without the hash: hashes of strings differ between processes

    @property
    def _fields(self):
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def layers(self):
        """Returns a list of `(input_filters, strides, skip)` for each layer, with the skip that the layer takes."""
        shapes = [(self.input_filters, self.strides)] + [(self.filters, 1)] * (self.repeats - 1)
        return [
            (inputs, strides, self.skip if inputs == self.filters and (strides == 1 or self.skip == "pool") else "none")
            for inputs, strides in shapes
        ]

    @functools.cached_property
    def canonical(self):
        """The same block, with skip `none` if none of its layers takes the skip."""
        if self.skip == "none" or any(skip != "none" for _, _, skip in self.layers()):
            return self
        return dataclasses.replace(self, skip="none")

    def __str__(self):
        """Google's block string, with `_conv` and `_pool` for what has no word there."""
        shape = f"r{self.repeats}_k{self.kernel_size}_s{self.strides}{self.strides}_e{self.expansion_ratio}"
        shape += f"_i{self.input_filters}_o{self.filters}"
        squeeze = f"_se{self.se_ratio}" if self.se_ratio else ""
        convolution = "_conv" if self.op == "conv" else ""
        return shape + squeeze + convolution + {"none": "_noskip", "identity": "", "pool": "_pool"}[self.skip]

    def describe(self):
        """Returns the block in words, as in "3 x MBConv6 5x5, SE 0.25, 40 filters, stride 2"."""
        name = {"mbconv": f"MBConv{self.expansion_ratio}", "sepconv": "SepConv", "conv": "Conv"}[self.op]
        words = [f"{self.repeats} x {name} {self.kernel_size}x{self.kernel_size}"]
        words += [f"SE {self.se_ratio:g}"] if self.se_ratio else []
        words += [f"{self.filters} filters"] + ([f"stride {self.strides}"] if self.strides > 1 else [])
        return ", ".join(words + {"none": ["no skip"], "identity": [], "pool": ["pooled skip"]}[self.skip])

    @classmethod
    def parse(cls, text):
        """Returns the block of a string such as `r3_k5_s22_e3_i24_o40_se0.25`; no word for the skip means `identity`.

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
        if any(len(value) > _MOST_DIGITS and key != "se" for key, value in values.items()):
            raise UserError(f"Expected numbers of at most {_MOST_DIGITS} digits in a block. Received: {text[:80]!r}")
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

    The stem is a 3 x 3 convolution of stride 2 to the input filters of the first block. The head is a 1 x 1
    convolution. `str()` returns the block strings separated by spaces, behind them ` headN` if N is not 1280, and
    ` pxN` if the network has an image size of its own.

    Attributes:
        blocks: the `Block`s, in their canonical form.
        head_filters: channels that the head returns.
        image_size: height and width of its images in pixels; None: the scale's.

    Raises:
        UserError: there is no block, or a block does not read as many channels as the block before it returns.
    """

    blocks: tuple[Block, ...]
    head_filters: int = HEAD_FILTERS
    image_size: int | None = None

    def __post_init__(self):
        check_whole("head_filters", self.head_filters, _MOST["filters"])
        if self.image_size is not None:
            check_whole("image_size", self.image_size, _MOST["image_size"])
        if not self.blocks:
            raise UserError("Expected at least one block. Received: blocks=()")
        if len(self.blocks) > _MOST_BLOCKS:
            raise UserError(f"Expected at most {_MOST_BLOCKS} blocks. Received: {len(self.blocks)}")
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
        return " ".join(map(str, self.blocks)) + head + (f" px{self.image_size}" if self.image_size else "")

    def outline(self):
        """Returns a list of the network's stages in words, from the image to the classes."""
        image = [f"images of {self.image_size} px"] if self.image_size else []
        stem, head = f"Conv 3x3, {self.stem_filters} filters, stride 2", f"Conv 1x1, {self.head_filters} filters"
        return [*image, stem, *(block.describe() for block in self.blocks), head, "average pooling, classes"]

    @classmethod
    def parse(cls, text):
        """Returns the network of a text in the form of `str()`, where commas may replace spaces.

        Raises:
            UserError: the text has another form.
        """
        words = re.split(r"[\s,]+", text.strip(" \n\t,"))
        ends = {"px": None, "head": HEAD_FILTERS}
        for name in ends:
            if re.fullmatch(rf"{name}\d{{1,{_MOST_DIGITS}}}", words[-1]):
                ends[name] = int(words.pop()[len(name) :])
            if not words:
                break
        return cls(tuple(Block.parse(word) for word in words), ends["head"], ends["px"])

    def to_json(self):
        """JSON-ready dict of the network, without an image size that is the scale's, as it was before there was one."""
        own = {"image_size": self.image_size} if self.image_size else {}
        return {
            "blocks": [dataclasses.asdict(block) for block in self.blocks],
            "head_filters": self.head_filters,
            **own,
        }

    @classmethod
    def from_json(cls, value):
        """Returns the network whose `to_json()` returned `value`.

        Raises:
            UserError: `value` has another form.
        """
        if isinstance(value, dict):
            value = {"image_size": None, **value}
        value = _check_keys("a MnasNet", cls, value)
        if not isinstance(value["blocks"], (list, tuple)):
            raise UserError(f"Expected a list of blocks. Received: blocks={value['blocks']!r}")
        blocks = tuple(Block(**_check_keys("a block", Block, block)) for block in value["blocks"])
        return cls(blocks, value["head_filters"], value["image_size"])


def check_whole(name, value, most=None):
    """Raises `UserError` unless `value` is an int above 0, of at most `most`; `name` is what messages call it."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"Expected {name} to be a whole number above 0. Received: {name}={repr(value)[:80]}")
    if most is not None and value > most:
        raise UserError(f"Expected {name} to be at most {most:,}. Received: {name}={value}")


def _check_keys(what, cls, value):
    names = [field.name for field in dataclasses.fields(cls)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise UserError(f"Expected the JSON of {what} to have {names}. Received: {str(value)[:200]}")
    return value
