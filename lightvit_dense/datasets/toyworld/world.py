"""Build a toy world on disk, whole or not at all."""

import glob
import json
import multiprocessing
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from lightvit_dense.utils.io import locked
from lightvit_dense.utils.progress import Display

from .assets import ToyWorldError
from .layout import Layout, Record
from .layout_ade20k import ADE20KLayout
from .layout_coco import CocoLayout
from .layout_imagenet import ImageNetLayout
from .layout_lasot import LaSOTLayout
from .spec import WorldSpec

LAYOUTS: dict[str, Layout] = {
    'coco': CocoLayout(),
    'imagenet': ImageNetLayout(),
    'ade20k': ADE20KLayout(),
    'lasot': LaSOTLayout(),
}
GENERATOR = 1
"""Raised whenever the same spec gives other pictures, so that old worlds are rebuilt."""

MARKER = 'toyworld.json'
_FORMAT = 'lightvit_dense.toyworld'
_CHUNK = 16
_PACKAGES = ('imgviz', 'scikit-image', 'scikit-learn', 'opencv-python', 'numpy')


def _read_marker(folder: Path) -> dict[str, Any] | None:
    """Return the marker of a world, ``None`` when there is nothing (or nothing in the folder)."""
    remedy = 'nothing was touched; move it away or choose another folder'
    if folder.is_file():
        raise ToyWorldError(f'{folder} is a file; {remedy}')
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        marker = json.loads((folder / MARKER).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        marker = None
    if not isinstance(marker, dict) or marker.get('format') != _FORMAT:
        raise ToyWorldError(f'{folder} is not empty and no toy world; {remedy}')
    foreign = sorted({path.name for path in folder.iterdir()} - {MARKER, *LAYOUTS})
    if foreign:
        raise ToyWorldError(f'{folder} holds something besides a toy world, {foreign}; {remedy}')
    return marker


@dataclass(frozen=True)
class WorldReport:
    """What :func:`build_world` did."""

    root: Path
    built: bool  # false when the same world was there already
    reason: str  # why it was built, or not
    seconds: float
    stats: dict[str, dict[str, Any]]  # counts by layout and split


def build_world(
    root: str | Path,
    spec: WorldSpec | None = None,
    layouts: Sequence[str] = ('coco',),
    workers: int = 2,
    progress: bool = True,
) -> WorldReport:
    """Build a toy world, unless the very same one is there already.

    The world is written beside ``root`` and renamed at the end: ``root`` never holds half a world.
    Builders of the same root wait for each other. The bytes do not depend on ``workers``. Where a
    world lacks a layout, those that are whole are taken over as they are.

    Each layout out of ``LAYOUTS`` gets a folder of its own in ``root``. 0 workers build in this
    process. Progress is shown on stderr.

    Raises:
        ToyWorldError: When the packages are missing, or ``root`` is a folder of somebody else's.
    """
    start = time.monotonic()
    spec = spec or WorldSpec()
    if not layouts or not set(layouts) <= set(LAYOUTS):
        raise ToyWorldError(f'layouts: got {list(layouts)}; choose from {sorted(LAYOUTS)}')
    if workers < 0:
        raise ToyWorldError(f'workers: must not be negative, got {workers}')
    root = Path(root).expanduser().resolve()
    with locked(root.with_name(f'.{root.name}.lock')):
        marker = _read_marker(root)
        reason = _why_another(marker, spec)
        kept: dict[str, Any] = {}
        if marker is not None and reason is None:
            # Another layout of the same world comes beside those that are there.
            problems = {n: LAYOUTS[n].problem(root / n, spec) for n in marker['layouts']}
            problems |= {n: 'the one there lacks a layout' for n in layouts if n not in problems}
            layouts = [*problems]
            kept = {n: marker['stats'][n] for n, problem in problems.items() if not problem}
            reason = next(filter(None, problems.values()), None)
        if reason is None:
            reason = 'the same world is there already'
            return WorldReport(root, False, reason, time.monotonic() - start, kept)
        # A missing package is reported before anything is written.
        for split in ('train', 'val'):
            spec.photos(split)
            spec.cutouts(split)
        stats = _build_beside(root, spec, layouts, kept, workers, progress)
        return WorldReport(root, True, reason, time.monotonic() - start, stats)


def _why_another(marker: dict[str, Any] | None, spec: WorldSpec) -> str | None:
    """Return why a world is another one, ``None`` if it is complete, of this spec and version."""
    if marker is None:
        return 'there was none'
    if marker.get('generator') != GENERATOR:
        return 'the one there was built by another version'
    # Fields that are younger than it have their defaults.
    if WorldSpec.from_dict(marker.get('spec') or {}).to_dict() != spec.to_dict():
        return 'the one there was built from another spec'
    return None


def _build_beside(
    root: Path,
    spec: WorldSpec,
    layouts: Sequence[str],
    kept: dict[str, Any],
    workers: int,
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """Build beside ``root``, then put the new world in its place; return the counts."""
    pattern = glob.escape(f'.{root.name}.partial-') + '*'
    for leftover in root.parent.glob(pattern):
        # Under another name no process that outlived its killed parent can write into it.
        shutil.rmtree(leftover.rename(leftover.with_name(f'{leftover.name}.gone')))
    partial = root.with_name(f'.{root.name}.partial-{secrets.token_hex(4)}')
    partial.mkdir()
    try:
        new = _write(partial, spec, [n for n in layouts if n not in kept], workers, progress)
        stats = {name: {**kept, **new}[name] for name in layouts}
        marker = {
            'format': _FORMAT,
            'generator': GENERATOR,
            'spec': spec.to_dict(),
            'layouts': list(layouts),
            'packages': {name: _version(name) for name in _PACKAGES},
            'stats': stats,
        }
        (partial / MARKER).write_text(json.dumps(marker, indent=2), encoding='utf-8')
        _read_marker(root)  # it may be somebody else's by now
        for name in kept:
            (root / name).rename(partial / name)
        if root.exists():
            root.rename(partial.with_name(f'{partial.name}-old'))
        partial.rename(root)
    finally:
        for leftover in root.parent.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
    return stats


def _write(
    folder: Path, spec: WorldSpec, layouts: Sequence[str], workers: int, progress: bool
) -> dict[str, dict[str, Any]]:
    """Write all layouts; return their counts by split."""
    chunks = []
    records: dict[tuple[str, str], list[Record]] = {}
    for name in layouts:
        LAYOUTS[name].prepare(folder / name, spec)
        for split, count in LAYOUTS[name].splits(spec).items():
            records[name, split] = []
            for start in range(0, count, _CHUNK):
                chunks.append((folder, spec, name, split, start, min(start + _CHUNK, count)))
    total = sum(stop - start for *_, start, stop in chunks)
    # The processes start before the progress display starts its thread.
    shown: Any = Display(sys.stderr, 1) if progress else nullcontext(lambda *_: None)
    with _ordered_map(_write_chunk, chunks, workers) as results, shown as show:
        written = 0
        for chunk, done in zip(chunks, results, strict=True):
            records[chunk[2], chunk[3]] += done
            written += len(done)
            show('Building the toy world', written, total)
    stats: dict[str, dict[str, Any]] = {name: {} for name in layouts}
    for (name, split), items in records.items():
        stats[name][split] = LAYOUTS[name].finish(folder / name, spec, split, items)
    return stats


def _write_chunk(
    folder: Path, spec: WorldSpec, layout: str, split: str, start: int, stop: int
) -> list[Record]:
    writer = LAYOUTS[layout]
    return [writer.write_item(folder / layout, spec, split, i) for i in range(start, stop)]


@contextmanager
def _ordered_map(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Iterator[Any]]:
    """Start ``function(*call)`` for each call; the value iterates over the results in order."""
    if workers == 0:
        yield (function(*call) for call in calls)
        return
    # Forked workers share what is loaded already, a spawned one would import it all again.
    method = 'fork' if sys.platform == 'linux' else 'spawn'
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context(method), initializer=_start, initargs=(os.getpid(),)
    )
    try:
        yield pool.map(function, *zip(*calls, strict=True))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(parent: int) -> None:
    """Prepare a worker: one thread, and an end when the parent is killed."""

    def leave() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    cv2.setNumThreads(0)
    threading.Thread(target=leave, daemon=True).start()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # OpenCV goes by several names
        return None
