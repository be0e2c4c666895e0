"""Fonts that have the letters of a text: matplotlib's own, else one that is installed."""

import unicodedata
from functools import cache, lru_cache
from typing import Any

from mmengine.logging import print_log
from PIL import ImageFont

FONT_SIZE = 13
_SQUARES: set[str] = set()
"""Letters that no font has, as far as that was said."""


def typeset(text: str, size: int = FONT_SIZE) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return a text in NFC, and a font of some pixels that has its letters, or most of them."""
    text = unicodedata.normalize('NFC', text)
    return text, _load(font_file(text), size)


def font_file(text: str) -> str:
    """Return the file of a font for a text."""
    return _choose(frozenset(filter(str.isprintable, text)) - _letters(_standard()))


def use_fonts(figure: Any) -> None:
    """Let the texts of a matplotlib figure fall back on fonts that have their letters."""
    from matplotlib import font_manager
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        file = font_file(text.get_text())
        if file != _standard():
            font_manager.fontManager.addfont(file)
            name = font_manager.FontProperties(fname=file).get_name()
            text.set_family([*text.get_family(), name])


@cache
def _standard() -> str:
    """Return the file of a font that is always there: matplotlib brings it along."""
    from matplotlib import font_manager

    return str(font_manager.findfont('DejaVu Sans'))


@lru_cache(maxsize=64)
def _load(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _letters(file: str) -> frozenset[str]:
    """Return the letters that a font can draw in any size."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(file, FONT_SIZE)
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _choose(missing: frozenset[str]) -> str:
    """Return the font that has most of the letters that the standard font lacks."""
    if not missing:
        return _standard()
    from matplotlib import font_manager

    # The regular style first; scores, in digits, stand beside names.
    files = sorted(font_manager.findSystemFonts(), key=lambda f: ('Regular' not in f, f))
    digits = frozenset('0123456789.')
    best = max(
        [_standard(), *files],
        key=lambda file: (len(missing & _letters(file)), len(digits & _letters(file))),
    )
    squares = missing - _letters(best) - _SQUARES
    if squares:
        _SQUARES.update(squares)
        letters = ''.join(sorted(squares))
        text = f'No installed font has {letters!r}: install one that does, such as Noto Sans CJK'
        print_log(text, logger='current', level=30)
    return best
