"""Time the index of sequences at the size of the data that trackers are trained on.

Annotation files like TrackingNet's (30 132 videos of 470 boxes), LaSOT's, GOT-10k's and COCO's are
written to a temporary folder, with no picture but an empty file in place of each video's last
frame, which is looked for. The indices are built and opened, each time by a process of its own;
seconds do not count its imports. Files have just been written, so they come from the memory of the
operating system and not from a disk.

Example:
    python tools/benchmark/run.py tracking_index --json index.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.utils.memory import peak_resident_mb
from tracking.datasets import CocoSequences, GOT10k, LaSOT, SequenceSet, TrackingNet

from .. import harness

SETS: dict[str, Callable[..., SequenceSet]] = {
    'trackingnet': TrackingNet,
    'lasot': LaSOT,
    'got10k': lambda root, cache_dir: GOT10k(root, 'train_full', cache_dir=cache_dir),
    'coco': CocoSequences,
}
FULL = {'trackingnet': 30132, 'lasot': 1400, 'got10k': 9335, 'coco': 860_001}
"""Videos, or objects, of the real ones."""
DRAWS = 20_000
OPTIONS = {'repeats': 3}


def write_videos(name: str, root: Path, videos: int, rng: np.random.Generator) -> None:
    """Write a set of videos: their boxes with whole pixels, their flags, and a last frame each."""
    mean, names = {'trackingnet': 470, 'lasot': 2500, 'got10k': 150}[name], []
    for n in range(videos):
        count = int(rng.integers(mean // 2, mean + mean // 2 + 1))
        rows, zeros = rng.integers(1, 1000, (count, 4)).tolist(), ','.join('0' * count)
        boxes = ''.join(f'{x},{y},{w},{h}\n' for x, y, w, h in rows)
        if name == 'trackingnet':
            folder, frames = f'TRAIN_{n % 12}', f'frames/v{n:06d}'
            files = {f'anno/v{n:06d}.txt': boxes, f'{frames}/{count - 1}.jpg': ''}
        elif name == 'lasot':
            folder = f'class{n // 20}/class{n // 20}-{n % 20 + 1}'
            files = {'groundtruth.txt': boxes, f'img/{count:08d}.jpg': ''}
            files |= {'full_occlusion.txt': zeros, 'out_of_view.txt': zeros}
        else:
            names.append(f'GOT-10k_Train_{n + 1:06d}')
            folder, files = f'train/{names[-1]}', {'groundtruth.txt': boxes, f'{count:08d}.jpg': ''}
            files |= {'absence.label': '0\n' * count, 'cover.label': '8\n' * count}
        for file, content in files.items():
            path = root / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding='utf-8')
    if names:
        (root / 'train/list.txt').write_text('\n'.join(names), encoding='utf-8')


def write_coco(root: Path, objects: int, rng: np.random.Generator) -> None:
    """Write annotations of seven objects an image."""
    count = objects // 7
    boxes = rng.uniform(10, 300, (7 * count, 4)).round(2).tolist()
    content = {
        'images': [{'id': n, 'file_name': f'{n:012d}.jpg'} for n in range(1, count + 1)],
        'annotations': [
            dict(id=n + 1, image_id=n // 7 + 1, category_id=n % 80 + 1, bbox=box, iscrowd=0)
            for n, box in enumerate(boxes)
        ],
        'categories': [{'id': n, 'name': f'class {n}'} for n in range(1, 81)],
    }
    (root / 'annotations').mkdir(parents=True)
    path = root / 'annotations/instances_train2017.json'
    path.write_text(json.dumps(content), encoding='utf-8')


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> dict[str, Any]:
    """Open sets in this process, built before or not; draw from them."""
    folder, before = Path(task['folder']), peak_resident_mb()
    seconds, data = {}, {}
    for name in task['sets']:
        start = time.perf_counter()
        data[name] = SETS[name](folder / name, cache_dir=folder / 'cache')
        seconds[name] = time.perf_counter() - start
    opened, everything = peak_resident_mb(), list(data.values())
    for place in np.random.default_rng(1).integers(0, 1 << 30, DRAWS).tolist():
        one = everything[place % len(everything)]
        index = place % len(one)
        one.boxes(index)[0], one.visible(index).any()
    counts = {n: dict(sequences=len(d), boxes=int(d.lengths.sum())) for n, d in data.items()}
    grown = {'grown_mb': opened - before, 'grown_by_draws_mb': peak_resident_mb() - opened}
    return {'seconds': seconds, 'counts': counts, **grown}


def measure(args: argparse.Namespace) -> harness.Report:
    """Write the sets into a temporary folder, build their indices, and open them again."""
    rng, rows = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        for name, count in FULL.items():
            if name == 'coco':
                write_coco(Path(folder, name), count, rng)
            else:
                write_videos(name, Path(folder, name), count, rng)
        built = {name: harness.run_worker(args, folder=folder, sets=[name]) for name in SETS}
        opened = [
            harness.run_worker(args, folder=folder, sets=[*SETS]) for _ in range(args.repeats)
        ]
        size = sum(path.stat().st_size for path in Path(folder).glob('cache/*.index')) / 2**20
    for name, first in built.items():
        row = {'name': name, **first['counts'][name], 'grown_mb': first['grown_mb']}
        row |= {'build_s': first['seconds'][name]}
        rows.append(row | harness.summary([found['seconds'][name] for found in opened]))
    columns = {
        'set': '{name}',
        'sequences': '{sequences}',
        'boxes': '{boxes}',
        'build, s': '{build_s:.1f}',
        'its peak, MiB': '{grown_mb:.0f}',
        'open, s (IQR)': harness.spread(digits=2),
    }
    last = opened[-1]
    text = (
        f'Opening all adds {last["grown_mb"]:.0f} MiB to what libraries take, {DRAWS} draws '
        f'{last["grown_by_draws_mb"]:.0f} MiB more; the index files have {size:.0f} MiB.'
    )
    text = f'{harness.table("Index of sequences, one process", columns, rows)}\n{text}'
    return harness.Report({'build': rows, 'open': opened, 'index_mb': size}, text)
