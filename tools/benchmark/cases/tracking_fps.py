r"""Measure the frames a second of a tracker on the CPU: as in OSTrack's code, torch, ONNX Runtime.

A frame is all that `Tracker.update` does: crop, network, choice of the box. All take turns on one
sequence, with and without candidate elimination; each number of threads has a process of its own.
Without a config the trackers have random weights, which is all that speed needs.

Example:
    python tools/benchmark/run.py tracking_fps --threads 1 2 --json fps.json --markdown fps.md
    python tools/benchmark/run.py tracking_fps --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --video VIDEO.mp4 --box 100 80 60 90
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.apis import build_model
from lightvit_dense.errors import UserError
from lightvit_dense.utils.environment import count_flops
from tracking.runtime import Tracker
from tracking.runtime.network import BACKENDS, build_network
from tracking.runtime.video import FrameSource

from .. import harness
from ..references.ostrack import BACKBONES, OSTrackReference, build_tracker, moving_frames

TITLES = {
    'ostrack': "as OSTrack's code",
    'plain': 'the model as trained',
    'torch': 'torch',
    'compiled': 'torch.compile',
    'onnx': 'ONNX Runtime',
    'onnx-int8': 'ONNX Runtime, 8 bits',
}
LEAST = 6  # frames of a sequence
STAGES = ('crop', 'network', 'post')
SETTLE = 2  # frames of a turn that are not timed: caches, and threads of the one before
ELIMINATION = {'both': (True, False), 'on': (True,), 'off': (False,)}
OPTIONS = {
    'trackers': dict(
        nargs='+', choices=list(BACKBONES), default=list(BACKBONES), help='with random weights'
    ),
    'config': dict(help="time this config's tracker instead"),
    'checkpoint': dict(help='its weights (default: as the config initialises)'),
    'ways': dict(
        nargs='+',
        choices=('ostrack', *BACKENDS),
        default=['ostrack', 'plain', 'torch', 'onnx', 'onnx-int8'],
        help='what to compare, the first with all others; OSTrack has none for Hiera, whose first '
        'is then plain (default: all but compiled, which takes minutes to compile)',
    ),
    'threads': dict(nargs='+', type=int, default=[1, 2], help='numbers of CPU threads'),
    'elimination': dict(choices=list(ELIMINATION), default='both', help='of candidates'),
    'frames': dict(type=int, default=40, help='of the sequence'),
    'video': dict(help='file to track in (default: generated, 1280x720)'),
    'box': dict(nargs=4, type=float, metavar=('X', 'Y', 'W', 'H'), help='in its first frame'),
    'rounds': 5,
    'tiny': False,
}


def check(args: argparse.Namespace) -> None:
    """Check the sequence and the checkpoint."""
    if args.frames < LEAST:
        raise UserError(f'{args.frames} frames are too few to time; give at least {LEAST}')
    if (args.video is None) != (args.box is None):
        raise UserError('--video and --box go together: the box is that of its first frame')
    if args.checkpoint and not args.config:
        raise UserError('--checkpoint needs --config')


class Turn:
    """One implementation on one sequence; a call tracks it once."""

    def __init__(
        self, model: Any, way: str, eliminate: bool, threads: int, sequence: tuple[Any, Any]
    ) -> None:
        self.way, self.eliminate, self.threads = way, eliminate, threads
        self.sequence = sequence
        self.tracker: Any
        if way == 'ostrack':
            self.tracker = OSTrackReference(model, eliminate)
        else:
            self.tracker = Tracker(model, backend='plain')
            options = dict(window=bool(model.test_cfg['window']), eliminate=eliminate)
            self.tracker.network = build_network(model, way, threads, **options)
        self.boxes = np.empty(0)  # of the last turn [T - 1, 4]
        self.seconds: list[np.ndarray] = []  # a turn each: of STAGES and all [T - 1 - SETTLE, 4]

    def __call__(self) -> None:
        """Track the sequence."""
        frames, box = self.sequence
        self.tracker.init(frames[0], box)
        boxes, seconds = [], []
        for frame in frames[1:]:
            start = time.perf_counter()
            boxes.append(self.tracker.update(frame).box)
            whole = time.perf_counter() - start
            seconds.append([*(self.tracker.timings.last[stage] for stage in STAGES), whole])
        self.boxes = np.stack(boxes)
        self.seconds.append(np.array(seconds[SETTLE:]))

    def count_flops(self) -> int:
        """Count the arithmetic of products and convolutions of a frame."""
        frames, box = self.sequence
        counted = self
        if self.way not in ('ostrack', 'plain'):  # what torch cannot see computes the same
            model, sequence = self.tracker.model, self.sequence
            counted = Turn(model, 'torch', self.eliminate, self.threads, sequence)
        counted.tracker.init(frames[0], box)
        return count_flops(lambda: counted.tracker.update(frames[1]))


def time_turns(turns: Sequence[Turn], rounds: int) -> list[dict[str, Any]]:
    """Time implementations that take turns, and compare each with the first that eliminates alike.

    Returns:
        Rows of the median frame in seconds (see :func:`harness.summary`), ``fps``, ``stages``
        (medians), ``speedup`` (median over rounds of the first one's median frame by this one's),
        ``box_error`` (largest difference of a box's edge or side over the sequence, in pixels),
        ``gflop``, and ``share``, the part of the matmul peak that the network reaches.
    """
    peak = harness.MatmulPeak()
    gflops = [turn.count_flops() / 1e9 for turn in turns]
    harness.in_turns(dict(enumerate(turns)), rounds, after_round=peak)
    rows = []
    for turn, gflop in zip(turns, gflops, strict=True):
        first = next(one for one in turns if one.eliminate == turn.eliminate)
        mine, theirs = (
            [np.median(s[:, 3]) for s in one.seconds[-rounds:]] for one in (turn, first)
        )
        frames = np.concatenate(turn.seconds[-rounds:])
        stages = dict(zip(STAGES, np.median(frames[:, :3], axis=0).tolist(), strict=True))
        row: dict[str, Any] = {'way': turn.way, 'eliminate': turn.eliminate, 'stages': stages}
        row |= harness.summary(frames[:, 3].tolist())
        row |= {'fps': 1 / row['median'], 'speedup': harness.ratio(theirs, mine), 'gflop': gflop}
        row |= {'box_error': float(np.abs(turn.boxes - first.boxes).max())}
        row |= {'share': gflop / stages['network'] / peak.gflop_per_s}
        rows.append(row)
    return rows


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measure one tracker with one number of threads."""
    sequence: tuple[Any, Any]
    if args.video:
        sequence = list(islice(FrameSource(args.video), args.frames)), np.array(args.box)
    else:
        sequence = moving_frames(args.frames)
    if len(sequence[0]) < LEAST:
        raise UserError(
            f'{args.video}: {len(sequence[0])} frames are too few, give {LEAST} or more'
        )
    if args.config:
        model = build_model(args.config, args.checkpoint, 'cpu')
    else:
        model = build_tracker(task['tracker'], args.tiny)
    ways = list(dict.fromkeys(args.ways))
    if type(model.backbone).__name__ != 'JointVisionTransformer' and 'ostrack' in ways:
        ways = ['plain', *(way for way in ways if way not in ('ostrack', 'plain'))]
    chosen, threads = ELIMINATION[args.elimination], task['threads']
    turns = [Turn(model, way, e, threads, sequence) for e in chosen for way in ways]
    return time_turns(turns, args.rounds)


COLUMNS: dict[str, harness.Column] = {
    'computed by': lambda row: TITLES[row['way']],
    'frames/s': '{fps:.1f}',
    'ms (IQR)': harness.spread(1e3, 1),
    'faster by': '{speedup:.2f}x',
    **{f'{n} ms': lambda row, n=n: f'{1e3 * row["stages"][n]:.2f}' for n in STAGES},
    'GFLOP': '{gflop:.2f}',
    'of the matmul rate': lambda row: '' if 'int8' in row['way'] else f'{row["share"]:.0%}',
    'box off by, px': '{box_error:.2g}',
}
NOTE = (
    'A frame is what `Tracker.update` does, decoding of the video left out: medians over all '
    'frames of all rounds. "Faster by" is against the first row of the table. GFLOP are those '
    'of products and convolutions; their share is of the rate of a large product in the same '
    'run. Boxes are compared with those of the first row over the whole sequence.'
)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every tracker with every number of threads."""
    results, texts = [], []
    for tracker in [Path(args.config).stem] if args.config else args.trackers:
        for threads in args.threads:
            harness.progress(f'{tracker}, {threads} thread(s)')
            rows = harness.run_worker(args, tracker=tracker, threads=threads)
            for eliminate in ELIMINATION[args.elimination]:
                how = 'with' if eliminate else 'without'
                title = f'{tracker}, {threads} thread(s), {how} elimination'
                some = [row for row in rows if row['eliminate'] == eliminate]
                texts.append(harness.table(title, COLUMNS, some))
            results += [{'tracker': tracker, 'threads': threads, **row} for row in rows]
    return harness.Report(results, '\n'.join([*texts, NOTE]))
