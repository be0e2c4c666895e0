"""Pictures side by side, with titles and legends; read, written and encoded."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw

from lightvit_dense.errors import UserError

from .fonts import FONT_SIZE, typeset
from .palette import Color

Image = np.ndarray
"""RGB, uint8 [H, W, 3]."""
INK: Color = (20, 20, 20)
PAPER: Color = (255, 255, 255)
T = TypeVar('T')


def evenly(items: Sequence[T], count: int) -> list[T]:
    """Return ``count`` items spread evenly from first to last; all if there are no more."""
    places = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[round(place)] for place in places]


def rescale(image: Image, scale: float) -> Image:
    """Return an image enlarged or reduced, without aliasing; a copy at a scale of 1."""
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.array(image), size, interpolation=interpolation)


def titled(picture: Image, title: str) -> Image:
    """Put a line of text above a picture; what does not fit is cut off."""
    bar = PILImage.new('RGB', (picture.shape[1], FONT_SIZE + 8), PAPER)
    text, font = typeset(title)
    ImageDraw.Draw(bar).text((5, 2), text, INK, font)
    return np.concatenate([np.array(bar), picture])


def legend(entries: Sequence[tuple[str, Sequence[int] | None]], width: int) -> Image:
    """Draw coloured squares with names in as many lines as they need; no square for colour None."""
    line, gap, margin = FONT_SIZE + 7, 12, 5
    places, x, y = [], margin, 2
    for name, color in entries:
        text, font = typeset(name)
        indent = 0 if color is None else FONT_SIZE + 4
        needed = indent + round(font.getlength(text))
        if x > margin and x + needed > width - margin:
            x, y = margin, y + line
        places.append((x, y, indent, text, font, color))
        x += needed + gap
    picture = PILImage.new('RGB', (width, y + line if entries else 0), PAPER)
    pen = ImageDraw.Draw(picture)
    for left, top, indent, text, font, color in places:
        if color is not None:
            square = (left, top + 2, left + FONT_SIZE, top + 2 + FONT_SIZE)
            pen.rectangle(square, fill=tuple(color), outline=INK)
        pen.text((left + indent, top), text, INK, font)
    return np.array(picture)


def grid(rows: Sequence[Sequence[Image]], gap: int = 4, background: int = 128) -> Image:
    """Lay pictures out in rows, each centred in a cell as large as the largest picture."""
    pictures = [picture for row in rows for picture in row]
    if not pictures:
        raise ValueError('a grid needs at least one picture')
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, background, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top = i * (height + gap) + (height - picture.shape[0]) // 2
            left = j * (width + gap) + (width - picture.shape[1]) // 2
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def side_by_side(
    pictures: Mapping[str, Image], entries: Sequence[tuple[str, Sequence[int]]] = ()
) -> Image:
    """Set pictures of one size with their titles in a row, with one legend below."""
    row = grid([[titled(picture, title) for title, picture in pictures.items()]], background=255)
    return np.concatenate([row, legend(entries, row.shape[1])])


def stacked(pictures: Mapping[str, Image]) -> Image:
    """Set pictures with their titles one below the other, at the left."""
    width = max(picture.shape[1] for picture in pictures.values())
    lines = [titled(picture, title) for title, picture in pictures.items()]
    free = [((0, 0), (0, width - line.shape[1]), (0, 0)) for line in lines]
    return np.concatenate(
        [np.pad(x, space, constant_values=255) for x, space in zip(lines, free, strict=True)]
    )


def read_image(path: str | Path) -> Image:
    """Read an image file as RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f'{path}: is missing, or no image')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: str | Path, picture: Image) -> Path:
    """Write an RGB picture in the format that its name ends in; missing folders are made."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        done = cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except (OSError, cv2.error) as error:
        raise UserError(f'{path} cannot be written: {error}') from error
    if not done:
        raise UserError(f'{path} cannot be written')
    return path


def data_uri(image: Image, quality: int | None = 88) -> str:
    """Encode a picture as a ``data:`` address: JPEG of the given quality, or PNG for None."""
    kind = 'png' if quality is None else 'jpeg'
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, encoded = cv2.imencode(f'.{kind}', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    return f'data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}'
