"""Which published weights there are for ImageNet, and where they come from: a folder, Keras's cache, the publisher.

timm's are on huggingface.co, one repository each (`default_cfgs` in timm's `efficientnet.py` and `mobilenetv3.py`),
those of `keras.applications` where Keras fetches them, with the digests that Keras knows. A file of unknown digest is
trusted when it is fetched first: its digest is kept beside it, and compared ever after.
"""

import dataclasses
import hashlib
import http.client
import os
import pathlib
import tempfile
import urllib.request

from mnas_tf import _pytorch_weights
from mnas_tf._conventions import PYTORCH, PYTORCH_PLAIN_INPUT, TENSORFLOW, Conventions
from nas_tf.files import check_writable, write_file
from nas_tf.networks import weights
from nas_tf.trial import UserError, first_line

HUGGING_FACE = "https://huggingface.co/timm"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
KERAS_TOO = "https://storage.googleapis.com/keras-applications"
MOST_BYTES = 128 << 20  # the largest, EfficientNet-Lite4's, has 52 MB
TIMEOUT_SECONDS, ASKED_SECONDS = 30, 10
_UNREACHABLE = (OSError, http.client.HTTPException, ValueError)
KEPT = ".sha256"


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """One published file.

    Attributes:
        url: where its publisher has it.
        file: its name in Keras's cache, and in a folder.
        also: another name that it may have in a folder.
        conventions: how its network is built; None: `keras.applications` builds it.
        md5: its digest, where Keras knows one.
    """

    url: str
    file: str
    also: str
    conventions: Conventions | None = None
    md5: str = ""

    @property
    def kind(self):
        """`.safetensors` (timm's) or `.h5` (Keras's)."""
        return os.path.splitext(self.file)[1]


def _timm(model, tag, conventions):
    return WeightsFile(
        f"{HUGGING_FACE}/{model}.{tag}/resolve/main/model.safetensors",
        f"{model}.{tag}.safetensors",
        f"{model}.safetensors",
        conventions,
    )


def _keras(folder, name, md5="", file="", conventions=None):
    return WeightsFile(f"{folder}/{name}", file or name, name, conventions, md5)


def _keras_mobilenet_v2(width):
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224.h5"
    return _keras(f"{KERAS}/mobilenet_v2", name, conventions=TENSORFLOW)


# By name and width, from few multiply-adds to many.
FILES = {
    **{
        ("mobilenet_v3_small", width): _keras(
            f"{KERAS}/mobilenet_v3", f"weights_mobilenet_v3_small_224_{width}_float.h5", md5
        )
        for width, md5 in ((0.75, "cb65d4e5be93758266aa0a7f2c6708b7"), (1.0, "8768d4c2e7dee89b9d02b2d03d65d862"))
    },
    ("mnasnet_small", 1.0): _timm("mnasnet_small", "lamb_in1k", PYTORCH),
    ("mobilenet_v4_conv_s", 0.5): _timm("mobilenetv4_conv_small_050", "e3000_r224_in1k", PYTORCH_PLAIN_INPUT),
    ("mobilenet_v4_conv_s", 1.0): _timm("mobilenetv4_conv_small", "e2400_r224_in1k", PYTORCH),
    **{
        ("mobilenet_v3_large", width): _keras(
            f"{KERAS}/mobilenet_v3", f"weights_mobilenet_v3_large_224_{width}_float.h5", md5
        )
        for width, md5 in ((0.75, "765b44a33ad4005b3ac83185abf1d0eb"), (1.0, "59e551e166be033d707958cf9e29a6a7"))
    },
    **{("mobilenet_v2", width): _keras_mobilenet_v2(width) for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)},
    ("mnasnet_a1", 0.75): _timm("semnasnet_075", "rmsp_in1k", PYTORCH),
    ("mnasnet_a1", 1.0): _timm("semnasnet_100", "rmsp_in1k", PYTORCH),
    ("mnasnet_b1", 1.0): _timm("mnasnet_100", "rmsp_in1k", PYTORCH),
    ("efficientnet_lite0", 1.0): _timm("tf_efficientnet_lite0", "in1k", TENSORFLOW),
    ("efficientnet_b0", 1.0): _keras(KERAS_TOO, "efficientnetb0.h5", "902e53a9f72be733fc0bcb005b3ebbac"),
    ("efficientnet_lite1", 1.0): _timm("tf_efficientnet_lite1", "in1k", TENSORFLOW),
    ("nasnet_mobile", 1.0): _keras(
        f"{KERAS}/nasnet", "NASNet-mobile.h5", "020fb642bf7360b370c678b08e0adf61", "nasnet_mobile.h5"
    ),
    ("efficientnet_lite2", 1.0): _timm("tf_efficientnet_lite2", "in1k", TENSORFLOW),
    ("mobilenet_v4_conv_m", 1.0): _timm("mobilenetv4_conv_medium", "e500_r256_in1k", PYTORCH),
    ("efficientnet_lite3", 1.0): _timm("tf_efficientnet_lite3", "in1k", TENSORFLOW),
    ("efficientnet_lite4", 1.0): _timm("tf_efficientnet_lite4", "in1k", TENSORFLOW),
}
NAMES = tuple(dict.fromkeys(name for name, _ in FILES))


def widths(name):
    """Returns a tuple of the widths for which the publisher of a network has weights, ascending.

    Raises:
        UserError: no network with published weights has that name.
    """
    if name not in NAMES:
        raise UserError(f"Expected a network with published weights, one of {', '.join(NAMES)}. Received: {name!r}")
    return tuple(width for known, width in FILES if known == name)


def weights_file(name, width=1.0, folder=""):
    """Returns the `pathlib.Path` of a network's published ImageNet weights.

    A file in `folder` under its published name is taken as it is. Else it is in Keras's cache (`$KERAS_HOME/models`,
    `~/.keras/models`), or fetched into it from its publisher.

    Args:
        name: one of `NAMES`.
        width: one of `widths(name)`.
        folder: a folder of files that were fetched by hand; empty: none.

    Raises:
        UserError: there are no such weights, they cannot be fetched, or the file is not the published one.
    """
    published = _published(name, width)
    at_hand = _in_folder(published, folder)
    if at_hand:
        return at_hand
    path = _cached(published)
    if not path.is_file():
        check_writable(path.parent)
        _fetch(published, path)
    elif not _is_trusted(path, published, kept_beside=path):
        raise UserError(
            f"{path} is damaged: its digest is not the one that {'Keras knows' if published.md5 else 'was kept'}. "
            "Remove it, to have it fetched again"
        )
    return path


def why_not(name, width=1.0, folder=""):
    """Returns why a network's weights cannot be had, in words, or None; arguments and errors as of `weights_file`.

    Nothing is fetched: the publisher is asked whether the file is there.
    """
    published = _published(name, width)
    if _in_folder(published, folder) or _cached(published).is_file():
        return None
    try:
        with _open(published, "HEAD", ASKED_SECONDS):
            return None
    except _UNREACHABLE as error:
        return str(_refusal(published, first_line(error)))


def _published(name, width):
    if width not in widths(name):
        known = ", ".join(f"{each:g}" for each in widths(name))
        raise UserError(f"{name} has published weights of width {known}. Received: width={width:g}")
    return FILES[name, width]


def _in_folder(published, folder):
    """Returns the path of a published file in the user's folder, or None if it is not there or there is no folder."""
    if not folder:
        return None
    folder = pathlib.Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"Expected a folder of files with weights. Received: {str(folder)!r}")
    return next((folder / file for file in (published.file, published.also) if (folder / file).is_file()), None)


def _cached(published):
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models" / published.file


def _fetch(published, path):
    """Fetches a file to `path`, or leaves nothing there."""
    content = _download(published)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fetched = pathlib.Path(folder) / path.name
        fetched.write_bytes(content)
        try:
            _check_readable(fetched)
        except UserError as error:
            raise _refusal(published, "what came is no file of weights") from error
        if not _is_trusted(fetched, published, kept_beside=path):
            remedy = "" if published.md5 else f". Remove {path}{KEPT} if a new one is meant"
            raise _refusal(published, f"what came is not the file that was published{remedy}")
        os.replace(fetched, path)


def _download(published):
    """Returns the bytes at the file's address, at most `MOST_BYTES`."""
    try:
        with _open(published, "GET", TIMEOUT_SECONDS) as answer:
            declared = int(answer.headers.get("Content-Length") or 0)
            content = b"" if declared > MOST_BYTES else answer.read(MOST_BYTES + 1)
    except _UNREACHABLE as error:
        raise _refusal(published, first_line(error)) from error
    if max(declared, len(content)) > MOST_BYTES:
        raise _refusal(published, f"it has more than {MOST_BYTES:,} bytes")
    if declared and len(content) < declared:
        raise _refusal(published, f"only {len(content):,} of {declared:,} bytes came")
    return content


def _open(published, method, seconds):
    request = urllib.request.Request(published.url, headers={"User-Agent": "mobile-nas-tf"}, method=method)
    return urllib.request.urlopen(request, timeout=seconds)


def _refusal(published, why):
    return UserError(
        f"Tried to fetch {published.url}: {why}. A file can be given instead: its path as --parent, or as "
        f"--weights_dir a folder with {published.file} in it; from Python either as weights="
    )


def _check_readable(path):
    if path.suffix == ".safetensors":
        _pytorch_weights.read_tensors(path)
    else:
        weights.read(path)


def _is_trusted(path, published, kept_beside):
    """Returns whether a file has the digest that Keras knows, or else the one that is kept beside `kept_beside`.

    Where none is kept, this is the first such file: it is trusted, and its digest is kept.
    """
    content = path.read_bytes()
    if published.md5:
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == published.md5
    digest, kept = hashlib.sha256(content).hexdigest(), pathlib.Path(f"{kept_beside or path}{KEPT}")
    if kept.is_file():
        return kept.read_text().strip() == digest
    write_file(kept, f"{digest}\n")
    return True
