"""Measure how many training pairs of template and search crop one core makes ready a second.

Videos in LaSOT's layout are made of photographs that installed packages carry. Three ways are
compared: the authors' (whole frames are changed, windows padded in memory, floats at the end),
ours, and the floor, which decodes the two frames and does nothing else. All run in one process, in
turns, and are timed in CPU seconds, so that neighbours on the machine disturb them less.

Example:
    python tools/benchmark/tracking_pairs.py --json pairs.json
    python tools/benchmark/tracking_pairs.py --size 640x360 --rounds 7
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from data_pipeline import photographs

import lightvit_dense
from lightvit_dense.datasets import SeededSampler
from lightvit_dense.utils import environment as measure
from tracking.sampling import PairDataset

FRAMES = 24
MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
AUTHORS, OURS, FLOOR = "authors' way", 'ours', 'bare decode of both frames'
Call = Callable[[Any], object]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', default='1280x720', metavar='WxH', help='size of the frames')
    parser.add_argument('--quality', type=int, default=90, help='of the JPEG files (default: 90)')
    parser.add_argument('--pairs', type=int, default=20, help='pairs a round (default: 20)')
    parser.add_argument('--rounds', type=int, default=21, help='timed rounds (default: 21)')
    parser.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
    args = parser.parse_args(argv)
    width, cross, height = args.size.partition('x')
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        parser.error(f'--size {args.size}: expected WIDTHxHEIGHT, such as 1280x720')
    args.size = (int(width), int(height))
    for name in ('pairs', 'rounds'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    return args


def write_videos(root: Path, files: list[bytes], size: tuple[int, int]) -> None:
    """Write one video of each photograph: LaSOT's layout, a target that moves and grows.

    Args:
        root: Empty folder.
        files: JPEG files of the photographs.
        size: Their (width, height) in pixels.
    """
    draw = np.random.default_rng(0)
    names = []
    for number, data in enumerate(files, 1):
        names.append(f'photo-{number}')
        folder = root / 'photo' / names[-1]
        (folder / 'img').mkdir(parents=True)
        for frame in range(1, FRAMES + 1):
            (folder / 'img' / f'{frame:08d}.jpg').write_bytes(data)
        target = draw.uniform(0.08, 0.3, 2) * min(size)
        grow = np.exp(np.linspace(0, draw.uniform(-0.3, 0.3), FRAMES))[:, None] * target
        start, stop = draw.uniform(0.1, 0.8, (2, 2)) * size
        center = start + np.linspace(0, 1, FRAMES)[:, None] * (stop - start)
        boxes = np.hstack([center - grow / 2, grow])
        np.savetxt(folder / 'groundtruth.txt', boxes, '%.2f', ',')
        for flags in ('full_occlusion.txt', 'out_of_view.txt'):
            (folder / flags).write_text(','.join('0' * FRAMES))
    (root / 'training_set.txt').write_text('\n'.join(names))


def padded_crop(image: np.ndarray, box: np.ndarray, factor: float, out: int) -> tuple:
    """Cut a crop and its mask as the authors do: pad the whole window in memory, then resize."""
    height, width = image.shape[:2]
    side = math.ceil(math.sqrt(box[2] * box[3]) * factor)
    x, y = (round(box[k] + 0.5 * box[k + 2] - 0.5 * side) for k in range(2))
    left, top = max(0, -x), max(0, -y)
    right, bottom = max(0, x + side - width), max(0, y + side - height)
    inside = image[y + top : y + side - bottom, x + left : x + side - right]
    padded = cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT)
    mask = np.ones((side, side))
    mask[top : side - bottom, left : side - right] = 0
    return cv2.resize(padded, (out, out)), cv2.resize(mask, (out, out)).astype(bool)


def authors_way(pairs: PairDataset) -> Call:
    """Return the authors' way to the same crops: an index to normalised floats."""

    def finish(crop: np.ndarray) -> torch.Tensor:
        image = torch.from_numpy(crop.transpose(2, 0, 1).copy()).float()
        image = image.mul(np.random.uniform(0.8, 1.2) / 255).clamp(0, 1)
        image = image.flip(2) if np.random.random() < 0.5 else image
        mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (MEAN, STD))
        return (image - mean) / std

    def run(index: Any) -> object:
        sequence = pairs.sets[0][int(np.random.randint(len(pairs.sets[0])))]
        chosen = pairs.choice.draw(sequence.visible)
        gray, mirror = np.random.random() < 0.05, np.random.random() < 0.5
        found = []
        for frame, spec in zip(chosen, (pairs.template, pairs.search), strict=True):
            image = cv2.imread(sequence.frames.name(frame))
            assert image is not None
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            box = np.array(sequence.boxes[frame])
            if gray:
                image = np.dstack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3)
            if mirror:
                image = np.fliplr(image).copy()
                box[0] = image.shape[1] - box[0] - box[2]
            crop, mask = padded_crop(image, spec.shake(box), spec.factor, spec.size)
            found.append((finish(crop), torch.from_numpy(mask)))
        return found

    return run


def ways(pairs: PairDataset) -> dict[str, Call]:
    """Return the compared ways by name; each takes an index of the sampler."""

    def floor(index: Any) -> object:
        sequence = pairs.sets[0][int(np.random.randint(len(pairs.sets[0])))]
        return [sequence.frames.read(frame) for frame in pairs.choice.draw(sequence.visible)]

    return {
        AUTHORS: authors_way(pairs),
        OURS: lambda index: pairs[index],
        FLOOR: floor,
    }


def stages(pairs: PairDataset) -> dict[str, Call]:
    """Return the parts of our way by name, on frames that are decoded already."""
    sequences = [pairs.sets[0][place] for place in range(len(pairs.sets[0]))]
    images = [sequence.frames.read(0) for sequence in sequences]
    cuts = [
        (pairs.template.cut(image, one.boxes[0]), pairs.search.cut(image, one.boxes[0]))
        for image, one in zip(images, sequences, strict=True)
    ]
    count = len(sequences)
    return {
        'choose': lambda k: pairs.choice.draw(pairs.sets[0][int(k) % count].visible),
        'crop': lambda k: [
            spec.cut(images[int(k) % count], sequences[int(k) % count].boxes[0])
            for spec in (pairs.template, pairs.search)
        ],
        'change': lambda k: pairs.augment(cuts[int(k) % count]),
    }


def in_turns(calls: dict[str, Call], pairs: PairDataset, rounds: int) -> dict[str, list[float]]:
    """Time calls in turns, each with the same random numbers in the same round.

    Args:
        calls: What to time, by name.
        pairs: Each is called with the indices of an epoch of it.
        rounds: Timed rounds; one more, before them, is not.

    Returns:
        CPU seconds a pair by name, one entry a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    sampler = SeededSampler(pairs, seed=0)
    for number in range(rounds + 1):
        sampler.set_epoch(number)
        indices = list(sampler)
        for name, call in calls.items():
            np.random.seed(number)
            start = time.process_time()
            for index in indices:
                call(index)
            if number:
                seconds[name].append((time.process_time() - start) / len(indices))
    return seconds


def measure_pairs(pairs: PairDataset, rounds: int) -> dict[str, Any]:
    """Compare the ways on one core, and time the parts of ours."""
    seconds = in_turns(ways(pairs), pairs, rounds)
    rows = []
    for name, values in seconds.items():
        timing = measure.Timing(tuple(values))
        times = [a / b for a, b in zip(seconds[AUTHORS], values, strict=True)]
        shares = [a / b for a, b in zip(seconds[FLOOR], values, strict=True)]
        rows.append(
            dict(
                name=name,
                pairs_per_s=1 / timing.median,
                ms=timing.median * 1e3,
                iqr_ms=timing.spread * 1e3,
                times_authors=statistics.median(times),
                share_of_floor=statistics.median(shares),
            )
        )
    parts = in_turns(stages(pairs), pairs, rounds)
    return {
        'rows': rows,
        'stages_us': {name: statistics.median(values) * 1e6 for name, values in parts.items()},
    }


def markdown(result: dict[str, Any]) -> str:
    """Make the table."""
    machine, size = result['machine'], 'x'.join(map(str, result['size']))
    lines = [
        f'{size} JPEG, quality {result["quality"]}, {result["mean_bytes"] / 1e3:.0f} kB on '
        f'average; one core of {machine["cpu"]}',
        '',
        "| way | pairs/s/core | ms (IQR) | x authors' | of the floor |",
        '|---|---:|---:|---:|---:|',
    ]
    lines += [
        f'| {row["name"]} | {row["pairs_per_s"]:.1f} | {row["ms"]:.2f} ({row["iqr_ms"]:.2f}) | '
        f'{row["times_authors"]:.2f} | {row["share_of_floor"]:.0%} |'
        for row in result['rows']
    ]
    parts = ', '.join(f'{name} {value:.0f} us' for name, value in result['stages_us'].items())
    return '\n'.join([*lines, '', f'Parts of ours besides decoding: {parts}.'])


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    files = photographs(args.size, args.quality)
    with tempfile.TemporaryDirectory() as name:
        write_videos(Path(name), files, args.size)
        sets = [dict(type='tracking.LaSOT', data_root=name, split='train')]
        pairs = PairDataset(sets=sets, samples_per_epoch=args.pairs)
        measured = measure_pairs(pairs, args.rounds)
    result = {
        'machine': {**measure.hardware(), 'lightvit_dense': lightvit_dense.__version__},
        'size': args.size,
        'quality': args.quality,
        'mean_bytes': statistics.mean(map(len, files)),
        'rounds': args.rounds,
        **measured,
    }
    print(markdown(result))
    if args.json:
        text = json.dumps(result, indent=2)
        Path(args.json).write_text(text + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
