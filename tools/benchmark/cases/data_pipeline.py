"""Measure how many images a second one core makes ready for training.

JPEG files of ImageNet's usual size are made of photographs that installed packages carry. Compared
are the reference (Pillow, torchvision, floats), ours with every decoder that is installed and from
packed images, and the floor, which decodes the whole image and does nothing else. All run in one
process, in turns, and are timed in CPU seconds, so that neighbours on the machine disturb them
less. Segmentation's input, which has label maps of up to 64 classes, is compared with mmseg's,
whose pixels are the same.

Example:
    python tools/benchmark/run.py data_pipeline --json data.json
    python tools/benchmark/run.py data_pipeline --segmentation --size 683 512 --crop 512
"""

import argparse
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import Compose
from torch.utils.data._utils import worker

from lightvit_dense.apis.configs import load_config
from lightvit_dense.datasets import collate_deferred
from lightvit_dense.datasets.collate import SharedBytes
from lightvit_dense.datasets.converters.packer import Packer
from lightvit_dense.datasets.draws import Draws
from lightvit_dense.datasets.packed import PackedStorage, PackSettings
from lightvit_dense.datasets.transforms import jpeg
from lightvit_dense.registry import FUNCTIONS, TRANSFORMS

from .. import harness
from ..references.pipelines import photographs, random_crop_reference

Pipelines = Mapping[str, Callable[[int], object]]  # each takes the number of a file
OPTIONS = {
    'size': (500, 375),
    'crop': dict(type=harness.count, default=224, help='side of the crops'),
    'device-input': dict(action='store_true', help='what workers hand over to the device alone'),
    'batch': dict(type=harness.count, default=128, help='images that are handed over at once'),
    'segmentation': dict(action='store_true', help="segmentation's input alone"),
    'repeats': 31,
}
RECIPES = (
    *('pretrain/mae_vit-tiny', 'pretrain/mocov3_vit-tiny', 'pretrain/dino_vit-tiny'),
    'imagenet/finetune_mae_vit-tiny_300e',
)


def build(*steps: dict[str, Any]) -> Compose:
    """Return a pipeline of registered transforms."""
    return Compose([TRANSFORMS.build(step) for step in steps])


def item(files: Sequence[bytes], number: int) -> dict[str, Any]:
    """Return what a pipeline takes of a file."""
    return {'img_path': number, 'storage': SimpleNamespace(read=files.__getitem__)}


def whole(data: bytes, decoder: str) -> np.ndarray:
    """Decode a whole file."""
    header = jpeg.read_header(data)
    assert header is not None
    return jpeg.decode_window(data, header, (0, 0, header.width, header.height), 1, decoder)


def training_pipelines(files: Sequence[bytes], crop: int) -> Pipelines:
    """Return what is compared on random crops; the reference first, the floors last."""
    recipe = load_config('pretrain/mae_vit-tiny')
    load, *others = map(dict, recipe.train_dataloader.dataset.pipeline)
    reference = random_crop_reference(crop, tuple(load['scale']))
    found: dict[str, Callable[[int], object]] = {}
    found['reference'] = lambda k: reference(io.BytesIO(files[k]))
    fastest = jpeg.choose_decoder()
    decoders = [name for name in jpeg.DECODERS if jpeg.available(name)]
    options = {f'ours, {name}': dict(decoder=name, backend='torch') for name in decoders}
    quick = dict(decoder=fastest, backend='cv2')
    options[f'ours, {fastest}, unfiltered resize'] = quick
    options[f'ours, {fastest}, unfiltered resize, plain chroma'] = quick | {'smooth_chroma': False}
    for name, choice in options.items():
        run = build(load | {'size': crop} | choice, *others)
        found[name] = lambda k, run=run: run(item(files, k))
    several, kept = build(load | {'size': crop}, *others), {}

    def one_of_four(k: int) -> object:
        if k % 4 == 0:
            kept.clear()
        return several(item(files, k // 4) | {'repeats': kept})

    found['ours, 4 crops an image'] = one_of_four
    found |= packed_pipelines(files, build(load | {'size': crop}, *others))
    for name in decoders:
        found[f'bare decode, {name}'] = lambda k, name=name: whole(files[k], name)
    return found


def packed_pipelines(files: Sequence[bytes], run: Compose) -> Pipelines:
    """Pack the files, and return ours on the packed images."""
    source, keys = SimpleNamespace(read=lambda key: files[int(key)]), [*map(str, range(len(files)))]
    found, folder = {}, tempfile.TemporaryDirectory()
    for form in ('raw', 'jpeg'):
        Packer(source, keys, Path(folder.name, form), PackSettings(form)).pack()
        item = dict(storage=PackedStorage(Path(folder.name, form)), folder=folder)
        found[f'ours, packed {form}'] = lambda k, item=item: run(item | {'img_path': keys[k]})
    return found


def handing_pipelines(recipe: str, images: np.ndarray) -> Pipelines:
    """Return what makes the batch of a number out of images [N, H, W, 3]."""
    loader = load_config(recipe).train_dataloader
    steps, options = loader.dataset.pipeline, dict(loader.collate_fn)
    host = build(*steps)
    device = build(dict(type='lightvit_dense.DeferredPipeline', transforms=steps))
    collate = FUNCTIONS.get(options.pop('type'))
    storage = SimpleNamespace(pixels=images.__getitem__)

    def items(run: Compose, batch: int) -> list[Any]:
        found, kept, first = [], {}, batch * len(images)
        for row in range(len(images)):
            draws = Draws(range(first, first + len(images)), row, kept)
            found.append(run({'img_path': row, 'storage': storage, 'draws': draws}))
        return found

    sides = collate_deferred(items(device, 0))['views'][0]['sides']
    handed = [*images]
    if device.transforms[0].cuts:
        handed = [image[:h, :w] for image, (h, w) in zip(images, sides, strict=True)]

    def copy(batch: int) -> None:
        given, place = SharedBytes(sum(some.size for some in handed)), 0
        for some in handed:
            given.bytes[place : place + some.size].numpy().reshape(some.shape)[:] = some
            place += some.size
        given.whole[0] = 0

    def hand_over(batch: int) -> None:
        collate_deferred(items(device, batch))['inputs'].whole[0] = 0  # as if it had been copied

    return {
        'augmented by the worker': lambda batch: collate(items(host, batch), **options),
        'augmented on the device': hand_over,
        'bare copy of the pixels': copy,
    }


def measure_handing(args: argparse.Namespace) -> harness.Report:
    """Measure what a worker hands over of packed pixels, 256 on the shorter side."""
    side = [round(256 * length / min(args.size)) for length in args.size]
    pictures = [cv2.resize(whole(file, 'cv2'), side) for file in photographs(args.size)]
    images = np.stack([pictures[n % len(pictures)] for n in range(args.batch)])
    worker._worker_info = SimpleNamespace(id=0)  # memory is that of a worker
    results, texts = {}, []
    for recipe in RECIPES:
        some = handing_pipelines(recipe, images)
        title = f'{recipe}: packed pixels of {side[0]}x{side[1]}, handed over'
        results[recipe], text = harness.compare_pipelines(
            title, some, lambda number: [number], args.repeats, args.batch
        )
        texts.append(text)
    return harness.Report(results, '\n'.join(texts))


def segmentation_pipelines(files: Sequence[bytes], crop: int, folder: Path) -> Pipelines:
    """Return what is compared on segmentation's training crops, of files written to a folder."""
    steps = load_config('ade20k/upernet_dmae_tiny').train_dataloader.dataset.pipeline
    steps[2].update(crop_size=(crop, crop), scale=(4 * crop, crop))
    cut = dict(steps[2], type='mmseg.RandomCrop')
    rescale = {key: cut.pop(key) for key in ('scale', 'ratio_range')}
    rescale |= dict(type='mmcv.RandomResize', resize_type='mmseg.Resize', keep_ratio=True)
    theirs = [dict(type='mmcv.LoadImageFromFile'), dict(type='mmseg.LoadAnnotations'), rescale, cut]
    theirs += [steps[3], dict(type='mmseg.PhotoMetricDistortion'), dict(type='mmseg.PackSegInputs')]
    for number, data in enumerate(files):
        (folder / f'{number}.jpg').write_bytes(data)
        smooth = cv2.GaussianBlur(whole(data, 'cv2'), (0, 0), 6) // 64
        cv2.imwrite(str(folder / f'{number}.png'), smooth @ np.array([16, 4, 1], np.uint8) + 1)

    def given(k: int) -> dict[str, Any]:
        paths = {'img_path': f'{folder}/{k}.jpg', 'seg_map_path': f'{folder}/{k}.png'}
        return dict(paths, reduce_zero_label=True, label_map=None, num_classes=64, seg_fields=[])

    found = {'reference': build(*theirs), 'ours': build(*steps), 'bare decode': build(steps[0])}
    return {name: lambda k, run=run: run(given(k)) for name, run in found.items()}


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure pre-training's input, or the one that is asked for."""
    if args.device_input:
        return measure_handing(args)
    files, what = photographs(args.size), 'segmentation' if args.segmentation else 'training'
    with tempfile.TemporaryDirectory() as folder:
        if args.segmentation:
            compared = segmentation_pipelines(files, args.crop, Path(folder))
        else:
            compared = training_pipelines(files, args.crop)
        title = f'{what}: JPEG files of quality 90 to {args.crop} px'
        compare, places = harness.compare_pipelines, range(len(files))
        rows, text = compare(title, compared, lambda _: places, args.repeats)
    return harness.Report({what: rows}, text)
