"""Frames a second of a tracker, computed in several ways that take turns."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.utils import environment as measure

from ..deploy.frame_module import ranking_weights
from ..runtime.network import BACKENDS, build_network
from ..runtime.tracker import Tracker
from .ostrack_way import OSTrackWay

WAYS = ('ostrack', *BACKENDS)
"""What can be timed: OSTrack's way, and the backends of the runtime."""
STAGES = ('crop', 'network', 'post')
_SETTLE = 2  # frames of a turn that are not timed: caches, and threads of the one before


@dataclass(frozen=True)
class FpsSettings:
    """How to measure.

    Attributes:
        ways: What to time, of ``WAYS``; the first is what the others are compared with.
        eliminations: Whether to eliminate candidates: for each, all ways are timed.
        threads: Threads of this process.
        rounds: In each, every way tracks the whole sequence.
    """

    ways: tuple[str, ...] = ('ostrack', 'torch', 'onnx', 'onnx-int8')
    eliminations: tuple[bool, ...] = (True, False)
    threads: int = 1
    rounds: int = 5


class FpsRun:
    """One way on one sequence.

    Args:
        model: An :class:`OneStreamTracker` on the CPU.
        way: Of ``WAYS``.
        eliminate: Whether to eliminate candidates.
        threads: Threads of the network.
    """

    def __init__(self, model: Any, way: str, eliminate: bool, threads: int) -> None:
        self.way, self.eliminate = way, eliminate
        self.tracker: Any
        if way == 'ostrack':
            self.tracker = OSTrackWay(model, eliminate)
        else:
            self.tracker = Tracker(model, backend='plain')
            window = bool(model.test_cfg['window'])
            self.tracker.network = build_network(
                model, way, threads, window=window, eliminate=eliminate
            )

    def turn(self, frames: Sequence[np.ndarray], box: np.ndarray) -> tuple[np.ndarray, Any]:
        """Track a sequence once.

        Args:
            frames: RGB uint8 [H, W, 3] each.
            box: In the first frame [4].

        Returns:
            Boxes of the later frames [T - 1, 4], and for each timed frame the seconds of
            ``STAGES`` and their sum [T - 1 - settling, 4].
        """
        self.tracker.init(frames[0], box)
        boxes, seconds = [], []
        for frame in frames[1:]:
            start = time.perf_counter()
            found = self.tracker.update(frame)
            whole = time.perf_counter() - start
            last = self.tracker.last if self.way == 'ostrack' else self.tracker.timings.last
            boxes.append(found if self.way == 'ostrack' else found.box)
            seconds.append([*(last[stage] for stage in STAGES), whole])
        return np.stack(boxes), np.array(seconds[_SETTLE:])


def count_arithmetic(model: Any, run: FpsRun) -> int:
    """Return the floating-point operations of a frame's products and convolutions, computed so.

    Args:
        model: The tracker.
        run: A way of it that has tracked something.
    """
    side = model.search_size
    if run.way == 'ostrack':
        crop = torch.zeros(1, 3, side, side)
        return measure.count_flops(lambda: run.tracker.find(crop))
    network = run.tracker.network
    if run.way == 'plain':
        return measure.count_flops(lambda: network(np.zeros((side, side, 3), np.uint8)))
    module, template = network.module, torch.zeros(model.template_size, model.template_size, 3)
    state = module.template(template)
    weights = ranking_weights(model, torch.tensor([0.25, 0.25, 0.5, 0.5]))
    return measure.count_flops(lambda: module(torch.zeros(side, side, 3), *state, weights))


def time_ways(
    model: Any,
    frames: Sequence[np.ndarray],
    box: np.ndarray,
    settings: FpsSettings,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time ways that take turns, so that whatever else the machine does hits all of them.

    Args:
        model: An :class:`OneStreamTracker` on the CPU.
        frames: RGB uint8 [H, W, 3] each.
        box: In the first frame [4].
        settings: How to measure.
        tell: Called with a line about progress.

    Returns:
        ``rows``, one a way and elimination, and ``matmul_gflop_per_s``, the best rate of a large
        product in between.

    Raises:
        UserError: If there are too few frames.
    """
    if len(frames) < _SETTLE + 4:
        raise UserError(f'{len(frames)} frames are too few to time; give at least {_SETTLE + 4}')
    torch.set_num_threads(settings.threads)
    runs = []
    for eliminate in settings.eliminations:
        for way in settings.ways:
            start = time.perf_counter()
            run = FpsRun(model, way, eliminate, settings.threads)
            run.turn(frames[: _SETTLE + 4], box)
            runs.append(run)
            tell(f'{way} is ready after {time.perf_counter() - start:.1f} s')
    seconds: dict[FpsRun, list[np.ndarray]] = {run: [] for run in runs}
    boxes: dict[FpsRun, np.ndarray] = {}
    rate = 0.0
    for number in range(1, settings.rounds + 1):
        # Every second round goes backwards, so that slow drift hits all alike.
        for run in runs if number % 2 else runs[::-1]:
            boxes[run], found = run.turn(frames, box)
            seconds[run].append(found)
        rate = max(rate, measure.matmul_rate())
        tell(f'round {number} of {settings.rounds}')
    rows = []
    for eliminate in settings.eliminations:
        some = [run for run in runs if run.eliminate == eliminate]
        for run in some:
            row = summarise(run, some[0], seconds, boxes)
            row['gflop'] = count_arithmetic(model, run) / 1e9
            row['share'] = row['gflop'] / row['stages']['network'] / rate
            rows.append(row)
    return {'rows': rows, 'matmul_gflop_per_s': rate}


def summarise(
    run: FpsRun,
    first: FpsRun,
    seconds: dict[FpsRun, list[np.ndarray]],
    boxes: dict[FpsRun, np.ndarray],
) -> dict[str, Any]:
    """Return one row of the table.

    Args:
        run: The way.
        first: The way to compare with.
        seconds: From :meth:`FpsRun.turn`, of each round.
        boxes: Of the last round.

    Returns:
        ``fps`` of the median frame, ``milliseconds`` of it with the interquartile range ``spread``,
        ``stages`` in seconds (medians), ``times_first`` (median over rounds of the ratio of median
        frames; above 1 this way is faster), ``box_error`` (largest difference of a box's edge or
        side from the first way's over the sequence, in pixels).
    """
    all_frames = np.concatenate(seconds[run])
    low, middle, high = np.percentile(all_frames[:, 3], [25, 50, 75])
    ratios = [
        float(np.median(theirs[:, 3]) / np.median(ours[:, 3]))
        for ours, theirs in zip(seconds[run], seconds[first], strict=True)
    ]
    return {
        'way': run.way,
        'eliminate': run.eliminate,
        'fps': float(1 / middle),
        'milliseconds': float(1e3 * middle),
        'spread': float(1e3 * (high - low)),
        'stages': dict(zip(STAGES, np.median(all_frames[:, :3], axis=0).tolist(), strict=True)),
        'times_first': statistics.median(ratios),
        'box_error': float(np.abs(boxes[run] - boxes[first]).max()),
    }
