"""Files of a data set: splits, image sizes, lists."""

import csv
import hashlib
import io
import os
import re
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from lightvit_dense.datasets.unlabeled import EXTENSIONS, scan_images
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_write, read_text

T = TypeVar('T')
PARTS = ('train', 'val')
_DRAWN = re.compile('visual|mask|label|seg|annot|unlabel')
"""Names of folders whose pictures may have the names of the images."""


def part_of(path: Path, root: Path) -> str:
    """Return 'train', 'val' or 'test' if the names below the root say so, else ''."""
    words = re.split(r'[^a-z]+', path.relative_to(root).as_posix().lower())
    return next((p for p in ('val', 'test', 'train') if any(w.startswith(p) for w in words)), '')


def choose_parts(found: dict[Path, T], root: Path, what: str) -> dict[str, T]:
    """Choose the training and validation parts by the names of paths."""
    parts: dict[str, list[Path]] = defaultdict(list)
    for path in found:
        parts[part_of(path, root) or 'train'].append(path)
    chosen = {'train': parts['train'], 'val': parts['val'] or parts['test']}
    if not chosen['train']:
        chosen = {'train': chosen['val']}
    for part, paths in chosen.items():
        if len(paths) > 1:
            shown = ', '.join(str(path) for path in paths[:6])
            raise UserError(
                f'{root}: {len(paths)} may be meant for {part}: {shown}. Give the one to train on '
                'by --data and, where there is one, that to validate on by --val'
            )
    if not chosen['train']:
        raise UserError(f'{root}: holds no {what}')
    return {part: found[paths[0]] for part, paths in chosen.items() if paths}


def split(
    items: Sequence[T], names: Sequence[object], groups: Sequence[Hashable], args: Namespace
) -> dict[str, list[T]]:
    """Split items for training and validation, stratified by group.

    They are sorted by group, then by the hash of seed and name, and ``args.val_fraction`` of them
    (at least one) are taken at even distances. Groups of one item are for training, if there are
    enough others.
    """
    if not 0 < args.val_fraction < 1:
        raise UserError(f'--val-fraction {args.val_fraction}: must lie between 0 and 1')
    if len(items) < 2:
        raise UserError(
            f'{args.data}: cannot split {len(items)} image or sequence; add some, or give the '
            'validation part by --val'
        )
    sizes, wanted = Counter(groups), max(1, round(args.val_fraction * len(items)))
    places = [place for place, group in enumerate(groups) if sizes[group] > 1]
    places = places if len(places) >= 2 * wanted else list(range(len(items)))
    hashes = [hashlib.sha256(f'{args.seed}\t{name}'.encode()).hexdigest() for name in names]
    places.sort(key=lambda place: (str(groups[place]), hashes[place]))
    chosen = {places[int((k + 0.5) * len(places) / wanted)] for k in range(wanted)}
    return {
        part: [item for place, item in enumerate(items) if (place in chosen) is validates]
        for part, validates in zip(PARTS, (False, True), strict=True)
    }


def best_folder(counts: Mapping[Path, int], root: Path, part: str, what: str) -> Path:
    """Return the folder with the highest count; of equal ones that of the images of the part."""
    best = [folder for folder, count in counts.items() if count and count == max(counts.values())]
    if len(best) > 1:
        best = [path for path in best if not _DRAWN.search(path.name.lower())] or best
        best = [path for path in best if part_of(path, root) == part] or best
    if len(best) != 1:
        shown = f': {", ".join(map(str, best))}. Give a --data that has one of them' if best else ''
        raise UserError(f'{root}: {len(best) or "none of its"} folders may have {what}{shown}')
    return best[0]


def images_below(folder: Path) -> list[Path]:
    """Return all images of a folder in the order of their paths."""
    if not folder.is_dir():
        raise UserError(f'{folder}: this folder does not exist')
    return [Path(path) for path in scan_images(str(folder))]


def spaced(items: Sequence[T], count: int = 200) -> Sequence[T]:
    """Return at most ``count`` items, evenly spaced."""
    return items[:: -(-len(items) // count) or 1]


def sizes_of(paths: Sequence[Path]) -> np.ndarray:
    """Return width and height [N, 2] of a sample of images; the check of files names bad ones."""
    sizes = []
    for path in spaced(paths):
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except OSError:
            continue
    if not sizes:
        raise UserError(f'{paths[0] if paths else "the data"}: not one image can be opened')
    return np.array(sizes)


def read_table(path: Path) -> list[tuple[str, str]]:
    """Read image and class from a CSV file: its first two columns, or those that it calls so."""
    text = read_text(path)
    first = text.partition('\n')[0]
    sign = max(',;\t', key=first.count)
    rows = [[c.strip() for c in row] for row in csv.reader(io.StringIO(text), delimiter=sign)]
    rows = [row for row in rows if any(row)]
    named = bool(rows) and not any(cell.lower().endswith(EXTENSIONS) for cell in rows[0])
    header = [name.lower() for name in rows.pop(0)] if named else []
    image, label = (
        next((i for i, name in enumerate(header) if re.search(words, name)), place)
        for place, words in enumerate(('file|image|path', 'label|class|category'))
    )
    short = next((row for row in rows if len(row) <= max(image, label)), None)
    if not rows or short is not None:
        raise UserError(f'{path}: {f"the line {short} lacks a column" if rows else "has no lines"}')
    bare = next((row for row in rows if not (row[image] and row[label])), None)
    if bare is not None:
        raise UserError(f'{path}: the line {bare} names no image or no class. Fill it in')
    return [(row[image], row[label]) for row in rows]


def write_lines(path: Path, lines: Sequence[str]) -> str:
    """Write a list and return its path."""
    atomic_write(path, ''.join(f'{line}\n' for line in lines).encode())
    return os.path.abspath(path)
