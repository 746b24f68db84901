"""One image: from a file to RGB pixels. Its size is read from its header before memory is taken for it."""

import contextlib
import functools
import os
import threading
import warnings

import numpy as np

from nas_tf.datasets._image_files import UnreadableImage

# The format that a file's name promises. Not every Pillow reads the last ones.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
_LARGE_PIXELS, _LARGE_BYTES = 4_000_000, 16 * 2**20
# However many threads decode, only so many large files, and large images, are in memory at once.
_LARGE_FILES, _LARGE_IMAGES = threading.BoundedSemaphore(2), threading.BoundedSemaphore(2)
_HEADER_BYTES = 2**20


@functools.cache
def formats():
    """Returns the formats of `SUFFIXES` that Pillow reads here."""
    from PIL import Image, features

    # The size of every image is checked, by `opened`, before it is decoded.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    found = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
    if "avif" in features.modules and features.check_module("avif"):
        found += ("AVIF",)
    return (*found, "HEIF") if "HEIF" in Image.OPEN else found


def suffix_of(file_name):
    """Returns how the name of an image file ends, as in `".jpg"`, or None if it is not an image's."""
    suffix = os.path.splitext(file_name)[1].lower()
    return suffix if suffix in SUFFIXES else None


def readable_among(file_names):
    """list[str]: those of the file names that end like an image's that can be read here."""
    readable = tuple(suffix for suffix, name in SUFFIXES.items() if name in formats())
    return [name for name in file_names if name.lower().endswith(readable)]


def decode(files, name, image_size, fit, max_megapixels):
    """Returns an image as uint8 [image_size, image_size, 3].

    It is upright and RGB, on white where it is transparent, and 16 bits are scaled down to 8.

    Args:
        files: the `ImageFiles`.
        name: path of the file below their root.
        image_size: height and width in pixels.
        fit: `"stretch"` resizes the whole image, `"crop"` the largest square at its centre (bilinear, antialiased).
        max_megapixels: the largest size of a file's image.

    Raises:
        UnreadableImage: the file is damaged, too large or of another format.
    """
    from PIL import Image

    with opened(files, name, max_megapixels) as image:
        whole = image.width * image.height
        image.draft(None, (2 * image_size, 2 * image_size))  # decodes a much larger JPEG at a fraction
        pixels = whole if image.info.get("progressive") else image.width * image.height
        with _LARGE_IMAGES if pixels > _LARGE_PIXELS else contextlib.nullcontext():
            image = _to_rgb(image)
            if fit == "crop":
                side = min(image.size)
                left, top = (image.width - side) // 2, (image.height - side) // 2
                image = image.crop((left, top, left + side, top + side))
            return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))


def decode_whole(files, name, max_megapixels):
    """Returns an image as uint8 [height, width, 3], as `decode` does but of the size that it is stored in.

    Raises:
        UnreadableImage: the file is damaged, too large or of another format.
    """
    with opened(files, name, max_megapixels) as image:
        is_large = image.width * image.height > _LARGE_PIXELS
        with _LARGE_IMAGES if is_large else contextlib.nullcontext():
            return np.asarray(_to_rgb(image))


def check(files, name, max_megapixels):
    """Finds a damaged file: a PNG by its checksums, a JPEG that has its end marker not at all, others by decoding.

    Raises:
        UnreadableImage: the file is damaged, too large or of another format.
    """
    with opened(files, name, max_megapixels) as image:
        if image.format == "PNG":
            image.verify()
            whole = True
        else:
            image.fp.seek(-2, os.SEEK_END)
            whole = image.format in ("JPEG", "MPO") and image.fp.read(2) == b"\xff\xd9"
    if not whole:
        decode(files, name, 8, "stretch", max_megapixels)


def shorter_side(files, name):
    """int: the smaller of an image's width and height, as the beginning of its file says, or None if it does not."""
    from PIL import Image

    try:
        with files.open(name, _HEADER_BYTES) as file, Image.open(file, formats=formats()) as image:
            return min(image.size)
    except Exception:  # as in `opened`
        return None


@contextlib.contextmanager
def opened(files, name, max_megapixels):
    """Returns a context with the Pillow image of a file, of which no more than the header has been decoded.

    Raises:
        UnreadableImage: the file is damaged, too large or of another format, also while the context lasts.
    """
    from PIL import Image, UnidentifiedImageError

    known = formats()
    try:
        is_large = files.num_bytes(name) > _LARGE_BYTES
        with (
            _LARGE_FILES if is_large else contextlib.nullcontext(),
            files.open(name) as file,
            Image.open(file, formats=known) as image,
        ):
            if image.width * image.height > max_megapixels * 1e6:
                raise UnreadableImage(
                    f"{image.width} x {image.height} pixels, expected at most {max_megapixels:g} million "
                    "(--image_folder_max_megapixels)"
                )
            yield image
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"not a {', '.join(known[:-1])} or {known[-1]} image") from error
    except Exception as error:  # for damaged data Pillow raises OSError, SyntaxError, struct.error, IndexError, ...
        raise UnreadableImage(str(error) or type(error).__name__) from error


def _to_rgb(image):
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips at 255
        image = Image.fromarray(np.clip(np.round(np.asarray(image) / 257), 0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
