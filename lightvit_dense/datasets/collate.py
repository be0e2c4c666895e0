"""Batches of images, written once."""

import math
import os
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import get_worker_info

from lightvit_dense.registry import FUNCTIONS

from .errors import DatasetError


def empty(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
    """Make a tensor; in a worker in shared memory, so that handing it over copies nothing."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


class SharedBytes:
    """Memory of a worker that it uses again once the process that trains has dropped the batch.

    Fresh memory costs a copy more, as the system clears it. A batch that somebody keeps stays.
    """

    pool: ClassVar[list[Tensor]] = []  # of this process; the first byte is 1 while in use
    receiver = 0  # process that frees it; the worker, or a fork of the receiver, does not

    def __init__(self, size: int) -> None:
        # Those that are free and too small go; others may become free in between.
        self.pool[:] = [some for some in self.pool if some[0] or len(some) >= size + 8]
        whole = next((s for s in self.pool if not s[0] and len(s) >= size + 8), None)
        if whole is None:
            whole = empty((size + size // 8 + 8,))
            self.pool.append(whole)
        whole[0] = 1
        self.whole, self.bytes = whole, whole[8 : size + 8]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, receiver=os.getpid())

    def __del__(self) -> None:
        if self.receiver == os.getpid():
            self.whole[0] = 0

    def pin_memory(self) -> Tensor:
        """Return a copy in pinned memory, as data loaders ask for."""
        return self.bytes.pin_memory()


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


def make_sample(meta: dict[str, Any], label: int | None = None) -> BaseDataElement:
    """Return a sample with its meta information and, where there is one, its label."""
    sample = BaseDataElement()  # whose metainfo argument would be copied deeply
    for key, value in meta.items():
        sample.set_field(value, key, field_type='metainfo', dtype=None)
    if label is not None:
        sample.gt_label = label
    return sample


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


@FUNCTIONS.register_module()
def collate_deferred(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of what :class:`DeferredPipeline` returns: one buffer, copied as a whole.

    Returns:
        dict: 'inputs', uint8 [bytes], of a worker :class:`SharedBytes`: two tables, the images
        [H, W, 3] one after the other, and spare bytes of 64 pixels more than the widest has.
        'tables': how many int64 and float64 numbers they have. 'data_samples': :class:`Samples`.
        'views', a dict for each kind of view: 'count' of an image, 'size' (height, width), 'sides'
        of the crops (int [count * B, 2], for the host), 'crops', the place of their table
        [count * B, 5] of first byte, bytes a row, height, width and method, and 'steps':
        operation, place and number of the images it changes, place and number of parameters.
        Where there are files: 'files', :class:`Files`, whose images precede the 'spare' bytes.
    """
    pipeline, shapes = samples[0]['pipeline'], np.array([sample['shape'] for sample in samples])
    drawn = pipeline.draw([sample['seed'] for sample in samples], shapes)
    inputs = [sample['inputs'] for sample in samples]
    if pipeline.cuts:
        crops = drawn[0][2]
        for place, (top, left, h, w, _) in enumerate(crops.tolist()):
            if inputs[place].shape[:2] == samples[place]['shape']:
                inputs[place] = inputs[place][top : top + h, left : left + w]
        shapes = np.array([image.shape[:2] for image in inputs])
        crops[:, :2], crops[:, 2:4] = 0, shapes
    # Each image once, however many samples are made of it; those of files come last.
    places = {id(image): place for place, image in enumerate(inputs)}
    ordered = sorted(places.values(), key=lambda place: -inputs[place].ndim)
    sent = [inputs[place] for place in ordered if inputs[place].ndim == 3]
    ends = [0, *np.cumsum(3 * shapes[ordered].prod(1)).tolist()]
    begins = {id(inputs[place]): end for place, end in zip(ordered, ends, strict=False)}
    starts = np.array([begins[id(image)] for image in inputs])
    strides = 3 * shapes[:, 1]
    ints, floats, views = array('q'), array('d'), []
    for count, size, crops, steps in drawn:
        stride = np.tile(strides, count)
        begin = np.tile(starts, count) + crops[:, 0] * stride + crops[:, 1] * 3
        view = dict(count=count, size=size, sides=crops[:, 2:4], crops=len(ints))
        ints.frombytes(np.column_stack([begin, stride, crops[:, 2:]]).tobytes())
        view['steps'] = [found for step in steps for found in _steps(step, ints, floats)]
        views.append(view)
    head = 8 * (len(ints) + len(floats))
    spare = int(strides.max()) + 3 * 64
    size = head + ends[len(sent)] + spare
    batch = empty((size,)) if get_worker_info() is None else SharedBytes(size)
    buffer = (batch.bytes if isinstance(batch, SharedBytes) else batch).numpy()
    buffer[:head] = np.frombuffer(ints.tobytes() + floats.tobytes(), np.uint8)
    for image, start in zip(sent, ends, strict=False):
        buffer[head + start :][: image.size].reshape(image.shape)[:] = image
    collated: dict[str, Any] = {
        'inputs': batch,
        'tables': (len(ints), len(floats)),
        'views': views,
        'several': pipeline.several,
        'data_samples': Samples([sample['data_samples'] for sample in samples]),
    }
    if files := ordered[len(sent) :]:
        collated |= {'files': Files([samples[place] for place in files]), 'spare': spare}
    return collated


def _steps(
    drawn: tuple[Sequence[str], np.ndarray, np.ndarray], ints: 'array[int]', floats: 'array[float]'
) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Sort what a transform does by operation; put places and parameters into tables."""
    ops, chosen, parameters = drawn
    for slot, number in np.ndindex(chosen.shape[1], len(ops)):
        places = np.flatnonzero(chosen[:, slot] == number)
        if count := len(places):
            given = parameters[places, slot].astype(float)
            yield ops[number], (len(ints), count), (len(floats), given.shape[1])
            ints.frombytes(places.tobytes())
            floats.frombytes(given.tobytes())
