"""Mean average precision as lines and as a table, and objects drawn on pictures."""

import csv
import io

from nas_tf.files import write_file

_COLUMNS = ("epoch", "loss", "validation_map_50", "validation_map", "seconds")
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#008080")
_MOST_CLASSES = 10  # in a line


def precision_lines(found, class_names):
    """Returns a list of lines.

    Args:
        found: dict from split to its `nas_tf.detection.evaluate.MeanPrecision`.
        class_names: in the order of `by_class`.
    """
    lines = []
    for split, each in found.items():
        sizes = f"small {percent(each.map_small)}, medium {percent(each.map_medium)}, large {percent(each.map_large)}"
        lines.append(
            f"{split}: mAP {percent(each.map, each.map_error)}, mAP@0.5 {percent(each.map_50, each.map_50_error)}, "
            f"mAP@0.75 {percent(each.map_75)} % of {each.num_images:,} images ({sizes})"
        )
        named = [f"{name} {percent(value)}" for name, value in zip(class_names, each.by_class)]
        more = ", ..." if len(named) > _MOST_CLASSES else ""
        lines.append(f"  by class: {', '.join(named[:_MOST_CLASSES])}{more}")
    return lines


def percent(value, error=None):
    """Returns a share, and its standard error if it is known, in percent; `"-"` where there is none."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if error is None else f"{100 * value:.1f} ± {100 * error:.1f}"


def write_history(path, history):
    """Writes the epochs of a detector's training, a list of dicts, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_file(path, text.getvalue())


def drawn(image, objects):
    """Returns an image with boxes, labels and scores on it, as PNG in bytes.

    Args:
        image: uint8 [height, width, 3].
        objects: list of `(label, number of the class, score, (left, top, right, bottom))`, boxes in pixels.
    """
    from PIL import Image, ImageDraw

    picture, content = Image.fromarray(image), io.BytesIO()
    drawing, thickness = ImageDraw.Draw(picture), max(1, round(min(image.shape[:2]) / 200))
    for label, number, score, (left, top, right, bottom) in objects:
        colour, text = _COLOURS[number % len(_COLOURS)], f"{label} {100 * score:.0f} %"
        drawing.rectangle((left, top, right, bottom), outline=colour, width=thickness)
        _, _, width, height = drawing.textbbox((0, 0), text)
        place = left, max(0, top - height) if top >= height else top
        drawing.rectangle((*place, place[0] + width, place[1] + height), fill=colour)
        drawing.text(place, text, fill="white")
    picture.save(content, "PNG")
    return content.getvalue()
