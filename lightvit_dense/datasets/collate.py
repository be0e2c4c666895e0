"""Batches of images, written once."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import get_worker_info

from lightvit_dense.registry import FUNCTIONS

from .errors import DatasetError
from .transforms.packing import make_sample

SPARE = 64
"""Columns of pixels beyond the widest image that a batch of pixels has at its end."""


def empty(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
    """Make a tensor; in a worker in shared memory, so that handing it over copies nothing."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


@FUNCTIONS.register_module()
def collate_images(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of packed images of one size.

    Each image is copied once, as it lies in memory with its channels last, to its place in the
    batch. In a worker that place is in memory shared with the process that trains. Returns 'inputs'
    [B, 3, H, W] in channels_last format, a list of 'data_samples', and 'flip', bool [B], where
    samples have it.
    """
    images = [sample['inputs'] for sample in samples]
    channels, height, width = images[0].shape
    batch = empty((len(images), height, width, channels), images[0].dtype)
    for place, image in zip(batch, images, strict=True):
        if image.shape != images[0].shape:
            raise DatasetError(
                f'images of a batch differ in size: {tuple(images[0].shape)} and '
                f'{tuple(image.shape)}. End the pipeline with a crop or a resize to one size.'
            )
        place.copy_(image.permute(1, 2, 0))  # [3, H, W] -> [H, W, 3]
    collated: dict[str, Any] = {
        'inputs': batch.permute(0, 3, 1, 2),  # [B, H, W, 3] -> [B, 3, H, W], a view
        'data_samples': [sample['data_samples'] for sample in samples],
    }
    if 'flip' in samples[0]:
        collated['flip'] = torch.tensor([sample['flip'] for sample in samples])
    return collated


class Samples:
    """The samples of a batch, each made when it is asked for; else nobody pays for them.

    It is no ``Sequence`` on purpose: data loaders and preprocessors walk over those.
    """

    def __init__(self, fields: list[tuple[dict[str, Any], int | None]]) -> None:
        self.metas = [meta for meta, _ in fields]
        self.labels = None if fields[0][1] is None else [label for _, label in fields]

    def __len__(self) -> int:
        return len(self.metas)

    def __getitem__(self, number: int) -> BaseDataElement:
        label = None if self.labels is None else self.labels[number]
        return make_sample(self.metas[number], label)

    def __iter__(self) -> Iterator[BaseDataElement]:
        return map(self.__getitem__, range(len(self)))


class Files:
    """Files for the device to decode. No ``Sequence`` either: nvJPEG wants them on the host."""

    def __init__(self, samples: Sequence[dict[str, Any]]) -> None:
        files = [sample['inputs'] for sample in samples]
        self.names, self.lengths = [str(s['path']) for s in samples], [len(file) for file in files]
        self.buffer = empty((sum(self.lengths),))
        np.concatenate(files, out=self.buffer.numpy())

    def split(self) -> list[Tensor]:
        """Return the files, uint8 [n] each."""
        return list(self.buffer.split(self.lengths))


class _Tables:
    """Numbers for the device, one after the other."""

    def __init__(self, dtype: type) -> None:
        self.dtype, self.parts, self.length = dtype, [], 0

    def add(self, numbers: Any) -> tuple[int, int]:
        """Append numbers [n] or [n, m]; return the first place and the size of the last axis."""
        part = np.asarray(numbers, self.dtype)
        start, self.length = self.length, self.length + part.size
        self.parts.append(part.reshape(-1))
        return start, part.shape[-1]


@FUNCTIONS.register_module()
def collate_deferred(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of what :class:`DeferredPipeline` returns: one buffer, copied as a whole.

    Returns:
        dict: 'inputs', uint8 [bytes]: two tables, the images [H, W, 3] one after the other, and
        spare bytes of the widest image and ``SPARE`` columns. 'tables': how many int64 and float32
        numbers the tables have. 'data_samples': :class:`Samples`. 'views', a dict for each kind of
        view: 'count' of an image, 'size' (height, width), 'sides' of the crops (int [count * B, 2],
        for the host), 'crops', the place of their table [count * B, 5] of first byte, bytes a
        row, height, width and method, and 'steps': operation, place and number of the images it
        changes, place and number of its parameters. Where there are files: 'files',
        :class:`Files`, whose images come before the 'spare' bytes.
    """
    # Each image once, however many samples are made of it; those of files come last.
    images = {id(sample['inputs']): sample for sample in samples}
    ordered = sorted(images.values(), key=lambda sample: -sample['inputs'].ndim)
    sent = [sample['inputs'] for sample in ordered if sample['inputs'].ndim == 3]
    ends = np.cumsum([0, *(3 * math.prod(sample['shape']) for sample in ordered)]).tolist()
    places = {id(sample['inputs']): start for sample, start in zip(ordered, ends, strict=False)}
    starts = np.array([places[id(sample['inputs'])] for sample in samples])
    strides = np.array([3 * sample['shape'][1] for sample in samples])
    ints, floats = _Tables(np.int64), _Tables(np.float32)
    views, first = [], 0
    for count, size in samples[0]['sizes']:
        some = [sample['views'][first + n] for n in range(count) for sample in samples]
        first += count
        boxes = np.array([view[0][1] for view in some])  # [count * B, 5]
        stride = np.tile(strides, count)
        begin = np.tile(starts, count) + boxes[:, 0] * stride + boxes[:, 1] * 3
        crops, _ = ints.add(np.column_stack([begin, stride, boxes[:, 2:]]))
        steps = [
            step for slot in range(1, len(some[0])) for step in _steps(some, slot, ints, floats)
        ]
        views.append(dict(count=count, size=size, sides=boxes[:, 2:4], crops=crops, steps=steps))
    head = 8 * ints.length + 4 * floats.length
    spare = int(strides.max()) + 3 * SPARE
    batch = empty((head + ends[len(sent)] + spare,))
    buffer = batch.numpy()
    np.concatenate(ints.parts, out=buffer[: 8 * ints.length].view(np.int64))
    if floats.parts:
        np.concatenate(floats.parts, out=buffer[8 * ints.length : head].view(np.float32))
    for image, start in zip(sent, ends, strict=False):
        buffer[head + start :][: image.size].reshape(image.shape)[:] = image
    collated = {
        'inputs': batch,
        'tables': (ints.length, floats.length),
        'views': views,
        'data_samples': Samples([sample['data_samples'] for sample in samples]),
    }
    if files := ordered[len(sent) :]:
        collated |= {'files': Files(files), 'spare': spare}
    return collated


def _steps(
    views: Sequence[Any], slot: int, ints: _Tables, floats: _Tables
) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Sort what a slot of the views does by operation; put places and parameters into tables."""
    chosen: dict[str, tuple[list[int], list[Any]]] = {}
    for place, view in enumerate(views):
        op, parameters = view[slot]
        if parameters is not None:
            places, given = chosen.setdefault(op, ([], []))
            places.append(place)
            given.append(parameters)
    return [(op, ints.add(places), floats.add(given)) for op, (places, given) in chosen.items()]
