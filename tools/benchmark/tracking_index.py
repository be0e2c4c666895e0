"""Time the index of sequences at the size of the data that trackers are trained on.

Annotation files like TrackingNet's (30 132 videos of 470 boxes), LaSOT's, GOT-10k's and COCO's are
written to a temporary folder, with no picture but an empty file in place of each video's last
frame, which is looked for. The indices are built and opened, each time by a process of its own;
seconds do not count its imports. Files have just been written, so they come from the memory of the
operating system and not from a disk.

Example:
    python tools/benchmark/tracking_index.py --json index.json
    python tools/benchmark/tracking_index.py --sets trackingnet --videos 1000
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils import environment as measure
from lightvit_dense.utils.memory import peak_resident_mb
from tracking.datasets import CocoSequences, GOT10k, LaSOT, SequenceSet, TrackingNet

SETS = {
    'trackingnet': TrackingNet,
    'lasot': LaSOT,
    'got10k': lambda root, cache_dir: GOT10k(root, 'train_full', cache_dir=cache_dir),
    'coco': CocoSequences,
}
FULL = 30132
DRAWS = 20_000


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sets', nargs='+', default=[*SETS], choices=[*SETS])
    parser.add_argument(
        '--videos', type=int, default=FULL, help='of TrackingNet; the other sets shrink alike'
    )
    parser.add_argument('--rounds', type=int, default=3, help='times that indices are opened')
    parser.add_argument('--folder', help='where to write, and what to remove; default: temporary')
    parser.add_argument('--json', metavar='FILE', help='write the figures there')
    parser.add_argument('--stage', nargs=2, help=argparse.SUPPRESS)  # a process of this tool
    args = parser.parse_args(argv)
    if args.videos < 12 or args.rounds < 1:
        parser.error('there must be at least 12 videos and a round')
    return args


def rows(rng: np.random.Generator, count: int) -> str:
    """Return lines of boxes with whole pixels."""
    boxes = rng.integers(1, 1000, (count, 4)).tolist()
    return ''.join(f'{x},{y},{w},{h}\n' for x, y, w, h in boxes)


def write_video(folder: Path, last: Path, files: dict[Path, str]) -> None:
    """Write a video's annotations and its last frame."""
    folder.mkdir(parents=True, exist_ok=True)
    last.parent.mkdir(parents=True, exist_ok=True)
    last.touch()
    for path, text in files.items():
        path.write_text(text, encoding='utf-8')


def write_trackingnet(root: Path, videos: int, rng: np.random.Generator) -> None:
    """Write twelve sets of videos of about 470 boxes."""
    for part in range(12):
        (root / f'TRAIN_{part}' / 'anno').mkdir(parents=True)
    for number in range(videos):
        folder, name, count = root / f'TRAIN_{number % 12}', f'v{number:06d}', _length(rng, 470)
        last = folder / 'frames' / name / f'{count - 1}.jpg'
        write_video(folder, last, {folder / 'anno' / f'{name}.txt': rows(rng, count)})


def write_lasot(root: Path, videos: int, rng: np.random.Generator) -> None:
    """Write classes of twenty videos of about 2500 boxes."""
    for number in range(max(1, videos)):
        class_name = f'class{number // 20}'
        folder = root / class_name / f'{class_name}-{number % 20 + 1}'
        count = _length(rng, 2500)
        flags = ','.join('0' * count)
        files = {'groundtruth.txt': rows(rng, count), 'full_occlusion.txt': flags}
        files['out_of_view.txt'] = flags
        paths = {folder / name: text for name, text in files.items()}
        write_video(folder, folder / 'img' / f'{count:08d}.jpg', paths)


def write_got10k(root: Path, videos: int, rng: np.random.Generator) -> None:
    """Write training videos of about 150 boxes."""
    names = [f'GOT-10k_Train_{number + 1:06d}' for number in range(max(1, videos))]
    for name in names:
        folder, count = root / 'train' / name, _length(rng, 150)
        files = {'groundtruth.txt': rows(rng, count), 'absence.label': '0\n' * count}
        files['cover.label'] = '8\n' * count
        paths = {folder / file: text for file, text in files.items()}
        write_video(folder, folder / f'{count:08d}.jpg', paths)
    (root / 'train' / 'list.txt').write_text('\n'.join(names), encoding='utf-8')


def write_coco(root: Path, objects: int, rng: np.random.Generator) -> None:
    """Write annotations of seven objects an image."""
    images = [{'id': n, 'file_name': f'{n:012d}.jpg'} for n in range(1, objects // 7 + 2)]
    boxes = rng.uniform(10, 300, (max(7, objects), 4)).round(2).tolist()
    annotations = [
        {'id': n + 1, 'image_id': n // 7 + 1, 'category_id': n % 80 + 1, 'bbox': box, 'iscrowd': 0}
        for n, box in enumerate(boxes)
        if n // 7 < len(images)
    ]
    categories = [{'id': n, 'name': f'class {n}'} for n in range(1, 81)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (root / 'annotations').mkdir(parents=True)
    path = root / 'annotations' / 'instances_train2017.json'
    path.write_text(json.dumps(content), encoding='utf-8')


def _length(rng: np.random.Generator, mean: int) -> int:
    return int(rng.integers(mean // 2, mean + mean // 2 + 1))


WRITERS = {
    'trackingnet': (write_trackingnet, FULL),
    'lasot': (write_lasot, 1400),
    'got10k': (write_got10k, 9335),
    'coco': (write_coco, 860_001),
}
"""How each is written, and how many videos or objects the real one has."""


def open_sets(folder: Path, names: list[str]) -> dict[str, SequenceSet]:
    """Open the sets with their indices."""
    return {name: SETS[name](folder / name, cache_dir=folder / 'cache') for name in names}


def run_stage(folder: Path, names: list[str]) -> dict[str, Any]:
    """Open sets in this process, built before or not; draw from them."""
    before, seconds, data = peak_resident_mb(), {}, {}
    for name in names:
        start = time.perf_counter()
        data |= open_sets(folder, [name])
        seconds[name] = time.perf_counter() - start
    opened = peak_resident_mb()
    rng = np.random.default_rng(1)
    everything = list(data.values())
    start = time.perf_counter()
    for place in rng.integers(0, 1 << 30, DRAWS).tolist():
        one = everything[place % len(everything)]
        index = place % len(one)
        one.boxes(index)[0], one.visible(index).any()
    drawn = time.perf_counter() - start
    counts = {name: (len(d), int(d.lengths.sum())) for name, d in data.items()}
    return {
        'seconds': seconds,
        'peak_mb_before': before,
        'peak_mb': opened,
        'peak_mb_after_draws': peak_resident_mb(),
        'us_per_draw': 1e6 * drawn / DRAWS,
        'pickle_kb': len(pickle.dumps(data)) / 1024,
        'counts': counts,
    }


def in_a_process(folder: Path, names: list[str]) -> dict[str, Any]:
    """Run a stage in a process of its own.

    Raises:
        UserError: If it fails.
    """
    command = [sys.executable, __file__, '--stage', str(folder), ','.join(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f'a process failed:\n{done.stderr}')
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Write the sets and measure."""
    rng = np.random.default_rng(0)
    for name in args.sets:
        write, full = WRITERS[name]
        print(f'writing {name} ...', file=sys.stderr, flush=True)
        write(folder / name, round(full * args.videos / FULL), rng)
    print('building and opening ...', file=sys.stderr, flush=True)
    built = {name: in_a_process(folder, [name]) for name in args.sets}
    opened = [in_a_process(folder, args.sets) for _ in range(args.rounds)]
    sizes = {path.name.split('-')[0]: path.stat().st_size for path in folder.glob('cache/*.index')}
    return {
        'machine': measure.hardware(),
        'videos': args.videos,
        'build': built,
        'open': opened,
        'index_mb': {name: size / 2**20 for name, size in sorted(sizes.items())},
    }


def report(result: dict[str, Any], names: list[str]) -> None:
    """Print a table."""
    print(f'one process on {result["machine"]["cpu"]}\n')
    print('| set | sequences | boxes | build, s | its peak, MiB | open, s |')
    print('|---|---|---|---|---|---|')
    for name in names:
        built = result['build'][name]
        sequences, boxes = built['counts'][name]
        again = sorted(found['seconds'][name] for found in result['open'])
        added = built['peak_mb'] - built['peak_mb_before']
        print(
            f'| {name} | {sequences} | {boxes} | {built["seconds"][name]:.1f} | {added:.0f} | '
            f'{again[len(again) // 2]:.2f} |'
        )
    last = result['open'][-1]
    print(
        f'\nOpening all adds {last["peak_mb"] - last["peak_mb_before"]:.0f} MiB to the '
        f'{last["peak_mb_before"]:.0f} MiB of the libraries, {DRAWS} draws another '
        f'{last["peak_mb_after_draws"] - last["peak_mb"]:.0f} MiB of shared pages; a draw takes '
        f'{last["us_per_draw"]:.1f} us. The index files have '
        f'{sum(result["index_mb"].values()):.0f} MiB; a worker is handed '
        f'{last["pickle_kb"]:.0f} KiB.'
    )


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    if args.stage:
        print(json.dumps(run_stage(Path(args.stage[0]), args.stage[1].split(','))))
        return 0
    if args.folder:
        Path(args.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        result = run(Path(name), args)
        report(result, args.sets)
        if args.json:
            Path(args.json).write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
        print('removing the files ...', file=sys.stderr, flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
