"""Measure how many training pairs of template and search crop one core makes ready a second.

Videos in LaSOT's layout are made of photographs that installed packages carry. Compared are the
reference (whole frames are changed, windows padded in memory, floats at the end), ours, and the
floor, which decodes the two frames and does nothing else. All run in one process, in turns, and
are timed in CPU seconds, so that neighbours on the machine disturb them less.

Example:
    python tools/benchmark/run.py tracking_pairs --json pairs.json
    python tools/benchmark/run.py tracking_pairs --size 640x360 --rounds 7
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.datasets import SeededSampler
from tracking.sampling import PairDataset

from .. import harness
from ..references.pipelines import pair_reference, photographs, use_one_core

FRAMES = 24
Pipelines = dict[str, Callable[[Any], object]]  # each takes an index of the sampler
OPTIONS = {
    'size': (1280, 720),
    'pairs': dict(type=int, default=20, help='pairs a round'),
    'quality': 90,
    'rounds': 21,
}
check = use_one_core


def write_videos(root: Path, files: Sequence[bytes], size: tuple[int, int]) -> None:
    """Write a video of each JPEG file, (width, height) px: LaSOT's layout, a target that moves."""
    draw, names = np.random.default_rng(0), []
    for place, data in enumerate(files, 1):
        names.append(f'photo-{place}')
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


def pipelines_of(pairs: PairDataset) -> Pipelines:
    """Return what is compared."""

    def floor(index: Any) -> object:
        sequence = pairs.sets[0][int(np.random.randint(len(pairs.sets[0])))]
        return [sequence.frames.read(frame) for frame in pairs.choice.draw(sequence.visible)]

    ours = pairs.__getitem__
    return {'reference': pair_reference(pairs), 'ours': ours, 'bare decode of both frames': floor}


def parts_of_ours(pairs: PairDataset) -> Pipelines:
    """Return the parts of ours, on frames that are decoded already."""
    sequences = [pairs.sets[0][place] for place in range(len(pairs.sets[0]))]
    images = [sequence.frames.read(0) for sequence in sequences]

    def cut(k: int) -> tuple[Any, Any]:
        image, box = images[k % len(images)], sequences[k % len(images)].boxes[0]
        return pairs.template.cut(image, box), pairs.search.cut(image, box)

    cuts = [cut(k) for k in range(len(images))]
    return {
        'choose': lambda index: pairs.choice.draw(sequences[int(index) % len(images)].visible),
        'crop': lambda index: cut(int(index)),
        'change': lambda index: pairs.augment(cuts[int(index) % len(images)]),
    }


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure on videos in a temporary folder."""
    files = photographs(args.size, args.quality)
    with tempfile.TemporaryDirectory() as name:
        write_videos(Path(name), files, args.size)
        sets = [dict(type='tracking.LaSOT', data_root=name, split='train')]
        pairs = PairDataset(sets=sets, samples_per_epoch=args.pairs)
        sampler = SeededSampler(pairs, seed=0)

        def indices(number: int) -> list[int]:
            sampler.set_epoch(number)
            return list(sampler)

        title = f'JPEG of {args.size[0]}x{args.size[1]} px, quality {args.quality}'
        rows, text = harness.compare_pipelines(title, pipelines_of(pairs), indices, args.rounds)
        parts, more = harness.compare_pipelines(
            'Parts of ours besides decoding', parts_of_ours(pairs), indices, args.rounds
        )
    return harness.Report({'rows': rows, 'parts': parts}, f'{text}\n{more}')
