"""Measure how many training pairs of template and search crop one core makes ready a second.

Videos in LaSOT's layout are made of photographs that installed packages carry. Compared are the
reference (whole frames are changed, windows padded in memory, floats at the end), ours, and the
floor, which decodes the two frames and does nothing else. All run in one process, in turns, and
are timed in CPU seconds, so that neighbours on the machine disturb them less.

Example:
    python tools/benchmark/run.py tracking_pairs --json pairs.json
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightvit_dense.datasets import SeededSampler
from tracking.sampling import PairDataset

from .. import harness
from ..references.pipelines import pair_reference, photographs

FRAMES = 24
OPTIONS = {
    'size': (1280, 720),
    'pairs': dict(type=harness.count, default=20, help='pairs a round'),
    'repeats': 21,
}


def write_videos(root: Path, files: Sequence[bytes], size: Sequence[int]) -> None:
    """Write a video of each JPEG file, (width, height) px: LaSOT's layout, a target that moves."""
    draw, steps = np.random.default_rng(0), np.linspace(0, 1, FRAMES)[:, None]
    for place, data in enumerate(files, 1):
        folder = root / f'photo/photo-{place}'
        (folder / 'img').mkdir(parents=True)
        for frame in range(1, FRAMES + 1):
            (folder / f'img/{frame:08d}.jpg').write_bytes(data)
        sides = draw.uniform(0.08, 0.3, 2) * min(size) * np.exp(steps * draw.uniform(-0.3, 0.3))
        start, stop = draw.uniform(0.1, 0.8, (2, 2)) * size
        boxes = np.hstack([start + steps * (stop - start) - sides / 2, sides])
        np.savetxt(folder / 'groundtruth.txt', boxes, '%.2f', ',')
        for flags in ('full_occlusion.txt', 'out_of_view.txt'):
            (folder / flags).write_text(','.join('0' * FRAMES))
    names = [f'photo-{place}' for place in range(1, len(files) + 1)]
    (root / 'training_set.txt').write_text('\n'.join(names))


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure on videos in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        write_videos(Path(name), photographs(args.size), args.size)
        sets = [dict(type='tracking.LaSOT', data_root=name, split='train')]
        pairs = PairDataset(sets=sets, samples_per_epoch=args.pairs)
        sampler = SeededSampler(pairs, seed=0)

        def indices(number: int) -> list[int]:
            sampler.set_epoch(number)
            return list(sampler)

        def floor(index: int) -> object:
            sequence = pairs.sets[0][int(np.random.randint(len(pairs.sets[0])))]
            return [sequence.frames.read(frame) for frame in pairs.choice.draw(sequence.visible)]

        compared = {'reference': pair_reference(pairs), 'ours': pairs.__getitem__}
        compared['bare decode of both frames'] = floor
        title = f'JPEG of {args.size[0]}x{args.size[1]} px, quality 90'
        return harness.Report(*harness.compare_pipelines(title, compared, indices, args.repeats))
