"""Pairs of template and search crops, drawn from sets of videos and images."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset

from lightvit_dense.datasets.determinism import SeededIndex, mix_seed, seeded
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.transforms.loading import BadImage, ImageReader
from lightvit_dense.datasets.transforms.opened import OpenedImage
from lightvit_dense.errors import UserError
from lightvit_dense_runtime.crops import DegenerateBox

from ..datasets import SequenceSet, VideoSequence
from ..datasets.whole import list_sets
from ..registry import DATASETS, TRANSFORMS
from ..structures import TrackSample
from .augment import PairAugment
from .choose import FrameChoice
from .jitter import read_spec

_TEMPLATE = {'size': 128, 'factor': 2.0}
_SEARCH = {'size': 256, 'factor': 4.0, 'center_jitter': 3.0, 'scale_jitter': 0.25}
_JOINT = {'gray': 0.05, 'flip': 0.5}


def _to_tensor(image: np.ndarray) -> Tensor:
    """Return an image [H, W, 3] as a tensor [3, H, W] of its own memory."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@TRANSFORMS.register_module()
class LoadFrame(ImageReader):
    """Open a frame of a video; up to ``max_bad`` different bad ones are passed over."""

    called = 'tracking.PairDataset'

    def transform(self, results: dict) -> dict | None:
        """Open frame 'frame_id' of 'frames' as 'img'; None for a tolerated bad one."""
        frames, index = results['frames'], results['frame_id']
        results['img_path'] = frames.name(index)
        # Windows of a picture can be decoded, but two of them take longer than the whole.
        windows = hasattr(frames, 'open') and not results.get('whole')
        try:
            results['img'] = frames.open(index) if windows else OpenedImage(frames.read(index))
        except (DatasetError, OSError) as error:
            self._note(results['img_path'], str(error), results.get('must_load', False))
            return None
        return results


def check_ratios(ratios: Sequence[float] | None, count: int) -> np.ndarray:
    """Return the probability of each of ``count`` sets, float64 [count]; equal ones for None."""
    if not count:
        raise UserError("PairDataset needs at least one set, such as dict(type='tracking.LaSOT')")
    weights = np.ones(count) if ratios is None else np.asarray(ratios, np.float64)
    if weights.shape != (count,) or not np.isfinite(weights).all() or weights.min() <= 0:
        raise UserError(
            f'PairDataset has {count} set(s) and ratios={ratios}; give one positive number a set, '
            'and leave out the sets that are not wanted'
        )
    return weights / weights.sum()


def usable_sequences(sequences: SequenceSet, min_visible: int, min_frames: int) -> np.ndarray:
    """Return the indices of sequences of which pairs can be drawn; the log counts the others.

    OSTrack asks a video for more than 4 visible frames and 20 in all; an image for its one target.
    """
    counts = np.asarray(sequences.visible_counts)
    if sequences.is_video:
        enough = (counts >= min_visible) & (np.asarray(sequences.lengths) >= min_frames)
        rule = f'{min_visible} frames with a visible target among {min_frames} or more'
    else:
        enough, rule = counts >= 1, 'a target with an area'
    usable = np.flatnonzero(enough)
    if not usable.size:
        raise DatasetError(
            f'{sequences.name}: none of its {len(sequences)} sequences has {rule}, so there are no '
            'pairs to train on. Check the annotations, or lower min_visible and min_frames of '
            'tracking.PairDataset'
        )
    left_out = len(sequences) - usable.size
    text = f'PairDataset {sequences.name}: {usable.size} of {len(sequences)} sequences'
    why = f'; {left_out} are left out, for lack of {rule}' if left_out else ''
    print_log(text + why, 'current')
    return usable


@DATASETS.register_module()
class PairDataset(Dataset):
    """Random pairs of a template and a search crop, as OSTrack trains on (Ye et al., ECCV 2022).

    An item draws a set by its ratio, one of its sequences, and two frames of it; images that are no
    videos give both crops. Template and search crop are cut around the target, the window of the
    second shaken. A pair of which a box is degenerate, or a crop (almost) all padding, is drawn
    again.

    Under :class:`lightvit_dense.SeededSampler` or ``SeededInfiniteSampler`` an item is a function
    of its index's seed, whatever the number of workers and processes; in test mode of ``seed`` and
    the index, so that every validation sees the same pairs. Other samplers draw from numpy's
    ambient generator.

    Items are ``dict(inputs=dict(template=[3, h, w], search=[3, H, W]), data_samples=...)``, uint8
    RGB and a :class:`tracking.structures.TrackSample`; collate by mmengine's ``default_collate``.

    Args:
        sets: Configs of the sets of sequences, such as ``dict(type='tracking.LaSOT', ...)``.
        ratios: How often each set is drawn, relative to the others; None for equally often.
        samples_per_epoch: Number of items.
        mode: 'causal', 'interval' or 'order', see :class:`FrameChoice`.
        max_interval: Greatest distance of the two frames.
        min_visible: Least number of visible frames of a video.
        min_frames: Least number of frames of a video.
        template: How to cut the template, arguments of :class:`CropSpec`; default: size 128, factor
            2, not shaken.
        search: How to cut the search crop; default: size 256, factor 4, center_jitter 3,
            scale_jitter 0.25.
        joint: Changes of both crops or none, see :class:`PairAugment`; default: grey 0.05, flip
            0.5.
        brightness: Change of each crop's brightness.
        flip: Probability of flipping each crop on its own, as the authors' code does besides the
            joint flip.
        max_tries: How many pairs to draw for an item before giving up.
        max_bad: How many different unreadable frames to tolerate; others are drawn in their place.
        test_mode: Whether items are the same in every epoch, and an unreadable frame is an error in
            any case.
        seed: Seed of the items in test mode.
    """

    def __init__(
        self,
        sets: Sequence[dict[str, Any]],
        ratios: Sequence[float] | None = None,
        samples_per_epoch: int = 60000,
        mode: str = 'causal',
        max_interval: int = 200,
        min_visible: int = 5,
        min_frames: int = 20,
        template: dict[str, float] | None = None,
        search: dict[str, float] | None = None,
        joint: dict[str, float] | None = None,
        brightness: float = 0.2,
        flip: float = 0.5,
        max_tries: int = 100,
        max_bad: int = 0,
        test_mode: bool = False,
        seed: int = 0,
    ) -> None:
        if min(samples_per_epoch, max_tries) < 1 or min_visible < 2:
            raise UserError(
                'samples_per_epoch and max_tries must be positive and min_visible at least 2, got '
                f'{samples_per_epoch}, {max_tries} and {min_visible}'
            )
        listed = list_sets(sets, 'PairDataset: sets')
        self.thresholds = np.cumsum(check_ratios(ratios, len(listed)))
        self.thresholds[-1] = 1.0  # rounding must not leave room for a set after the last
        self.choice = FrameChoice(mode, max_interval)
        self.template = read_spec('template', _TEMPLATE, template)
        self.search = read_spec('search', _SEARCH, search)
        self.augment = PairAugment(dict(_JOINT if joint is None else joint), brightness, flip)
        self.loader = LoadFrame(max_bad)
        self.samples_per_epoch, self.max_tries = samples_per_epoch, max_tries
        self.test_mode, self.seed = test_mode, seed
        self.sets = [DATASETS.build(one) for one in listed]
        self.usable = [usable_sequences(one, min_visible, min_frames) for one in self.sets]

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names of the sets."""
        return {'sets': [one.name for one in self.sets]}

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item; an error names the set of which no usable pair was found."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'item {int(index)} of {len(self)}')
        if self.test_mode:
            with seeded(mix_seed(self.seed, int(index) % len(self))):
                return self._draw()
        with seeded(index.seed) if isinstance(index, SeededIndex) else nullcontext():
            return self._draw()

    def _draw(self) -> dict[str, Any]:
        """Draw pairs until one is usable."""
        reason = place = ''
        for _ in range(self.max_tries):
            number = int(np.searchsorted(self.thresholds, np.random.random(), side='right'))
            chosen, usable = self.sets[number], self.usable[number]
            sequence = chosen[int(usable[np.random.randint(len(usable))])]
            pair = self.choice.draw(sequence.visible) if chosen.is_video else (0, 0)
            place = f'{chosen.name} {sequence.name}, frames {pair[0]} and {pair[1]}'
            try:
                item = self._cut(sequence, pair)
            except DegenerateBox as error:
                reason = str(error)
                continue
            if item is not None:
                return item
            reason = 'a crop is all padding, or a frame cannot be read'
        raise DatasetError(
            f'{self.max_tries} pairs in a row were not usable; the last was {place}: {reason}. '
            'Check the boxes of this set (pixels, x, y, width, height), or draw more with max_tries'
        )

    def _cut(self, sequence: VideoSequence, pair: tuple[int, int]) -> dict[str, Any] | None:
        """Read the frames of a pair and cut the crops; None if they are not usable."""
        wanted = {'frames': sequence.frames, 'must_load': self.test_mode}
        wanted['whole'] = pair[0] == pair[1]
        loaded: dict[int, dict[str, Any]] = {}
        for index in dict.fromkeys(pair):  # an image that gives both crops is read once
            result = self.loader.transform({**wanted, 'frame_id': index})
            if result is None:
                return None
            loaded[index] = result
        cuts = []
        for index, spec in zip(pair, (self.template, self.search), strict=True):
            try:
                cut = spec.cut(loaded[index]['img'], sequence.boxes[index])
            except BadImage as error:
                self.loader._note(loaded[index]['img_path'], str(error), self.test_mode)
                return None
            if cut.is_empty:
                return None
            cuts.append(cut)
        template, search = self.augment((cuts[0], cuts[1]))
        sample = TrackSample(
            template_box=torch.from_numpy(template.box).float(),
            search_box=torch.from_numpy(search.box).float(),
            metainfo={
                'template_path': loaded[pair[0]]['img_path'],
                'img_path': loaded[pair[1]]['img_path'],
                'sequence_name': sequence.name,
                'dataset': sequence.dataset,
                'frame_ids': pair,
            },
        )
        inputs = {'template': _to_tensor(template.image), 'search': _to_tensor(search.image)}
        return {'inputs': inputs, 'data_samples': sample}
