"""Cut-outs of the stamp world: photographs with alpha from Debian's tuxpaint-stamps-default.

``stamps.yml`` lists what was taken, by kind and side: pictures of the side 'val' are strangers to
those of the side 'train'. The package is fetched by :func:`fetch_stamps` and never shipped.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

from lightvit_dense.errors import UserError

from .assets import Cutout, Source, make_pyramid

PACKAGE = 'tuxpaint-stamps-default'
LICENSE = 'GPL-2'
CREDIT = f'Tux Paint stamps, © 2002-2022 Bill Kendrick and contributors, {LICENSE}'
_INSIDE = 'usr/share/tuxpaint/stamps'
_LISTED: dict[str, dict[str, dict[str, list[str]]]] = yaml.safe_load(
    Path(__file__).with_name('stamps.yml').read_text(encoding='utf-8')
)
KINDS: tuple[str, ...] = tuple(_LISTED)
"""The classes of the stamp world."""
MAX_SIDE = 320
"""Larger pictures are shrunk when they are read."""


def stamp_sources(kinds: Sequence[str], side: str) -> list[tuple[str, Source]]:
    """Return kind and source of the pictures of a side, 'train' or 'val'; kinds take turns."""
    turns = []
    for kind in kinds:
        listed = _LISTED[kind][side].items()
        paths = [f'{folder}/{name}' for folder, names in listed for name in names]
        turns += [(turn, kind, path) for turn, path in enumerate(paths)]
    return [
        (kind, Source(f'stamps/{path}', PACKAGE, f'{_INSIDE}/{path}.png', CREDIT))
        for _, kind, path in sorted(turns)
    ]


@lru_cache(maxsize=64)
def load_stamps(folder: str, kinds: tuple[str, ...], side: str) -> tuple[Cutout, ...]:
    """Read the cut-outs of a side, 'train' or 'val', from an unpacked package."""
    root = find_stamps(folder)
    return tuple(_read(root, kind, source) for kind, source in stamp_sources(kinds, side))


def find_stamps(folder: str | Path) -> Path:
    """Return the root of an unpacked package; ``folder`` may be any folder down to the stamps'."""
    place = Path(folder).expanduser().resolve()
    for root in (place, *place.parents[:4]):
        if (root / _INSIDE / 'animals').is_dir():
            return root
    raise UserError(f'{folder}: no {_INSIDE}/animals in it. {_by_hand("FOLDER")}')


def fetch_stamps(folder: str | Path) -> Path:
    """Fetch the package by apt-get and unpack it into ``folder``, unless it is there."""
    folder = Path(folder)
    if (folder / _INSIDE / 'animals').is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as draft:
        _run(['apt-get', 'download', PACKAGE], draft, folder)
        package = next(Path(draft).glob('*.deb'))
        _run(['dpkg-deb', '-x', str(package), f'{draft}/stamps'], draft, folder)
        Path(draft, 'stamps').rename(folder)
    return folder


def _run(command: list[str], cwd: str, folder: Path) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(f'{command[0]} is not installed. {_by_hand(folder)}') from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition('\n')[2]
        words = f'{" ".join(command[:2])} failed ({reason}). {_by_hand(folder)}'
        raise UserError(words) from error


def _by_hand(folder: str | Path) -> str:
    return (
        f'On any Debian or Ubuntu, after `apt-get update`, run `apt-get download {PACKAGE}` and '
        f'`dpkg-deb -x {PACKAGE}_*.deb {folder}`, then name that folder with --stamps.'
    )


@cache
def _read(root: Path, kind: str, source: Source) -> Cutout:
    """Read a picture, cut to its object and shrunk to ``MAX_SIDE``."""
    path = root / source.path
    try:
        with Image.open(path) as image:
            rgba: np.ndarray = np.array(image.convert('RGBA'), np.float32)
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error}); unpack {PACKAGE} anew. {_by_hand("FOLDER")}'
        ) from error
    x, y, w, h = cv2.boundingRect((rgba[..., 3] >= 128).astype(np.uint8))
    rgba = rgba[y : y + h, x : x + w]
    rgba[..., :3] *= rgba[..., 3:] / 255
    ratio = MAX_SIDE / max(h, w)
    if ratio < 1:
        rgba = cv2.resize(rgba, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    # A border of nothing lets the edge fade out when the cut-out is warped.
    rgba = cv2.copyMakeBorder(rgba, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    return make_pyramid(source, kind, rgba)
