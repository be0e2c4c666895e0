"""One palette: colours of classes in pictures, and of lines in plots."""

import colorsys
from collections.abc import Sequence

Color = tuple[int, int, int]
"""Red, green and blue in 0..255."""

PALETTE = ('#3b82f6', '#f97316', '#10b981', '#d946ef', '#eab308', '#64748b')
"""Lines of plots; readable on white and on near-black alike."""


def line_color(place: int) -> Color:
    """Return the colour of the line at a place, from 0; after the last the first comes again."""
    code = PALETTE[place % len(PALETTE)]
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def class_color(class_id: int) -> Color:
    """Return a bright colour; neighbouring class ids get hues far apart."""
    # Steps of the golden ratio around the circle of hues.
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.618034 % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def class_colors(count: int, palette: Sequence[Sequence[int]] | None = None) -> list[Color]:
    """Return a colour for each class: the data set's where it has enough, else well apart."""
    if palette is None or len(palette) < count:
        return [class_color(class_id) for class_id in range(count)]
    return [(int(red), int(green), int(blue)) for red, green, blue in palette[:count]]
