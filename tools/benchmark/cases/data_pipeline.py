"""Measure how many images a second one core makes ready for pre-training, and for evaluation.

JPEG files of ImageNet's usual size are made of photographs that installed packages carry. Compared
are the reference (Pillow, torchvision, floats), ours with every decoder that is installed, and the
floor, which decodes the whole image and does nothing else. All run in one process, in turns, and
are timed in CPU seconds, so that neighbours on the machine disturb them less. Evaluation's resize
and central crop are compared with torchvision's, whose pixels are the same, and with a crop before
the resize, which is faster and gives others. Then whole data loaders are compared, and what handing
over a batch costs.

Example:
    python tools/benchmark/run.py data_pipeline --json data.json
    python tools/benchmark/run.py data_pipeline --size 1024x768 --workers 1
    python tools/benchmark/run.py data_pipeline --evaluation
"""

import argparse
import io
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from torch.utils.data import DataLoader, default_collate
from torchvision.datasets import ImageFolder

from lightvit_dense import datasets
from lightvit_dense.datasets.transforms import jpeg
from lightvit_dense.datasets.transforms.augment import resize_box
from lightvit_dense.registry import MODELS, TRANSFORMS

from .. import harness
from ..references.pipelines import (
    center_crop_reference,
    photographs,
    random_crop_reference,
    use_one_core,
)

RECIPE = harness.ROOT / 'configs/pretrain/mae_vit-tiny.py'
Pipelines = Mapping[str, Callable[[int], object]]  # each takes the number of a file
OPTIONS = {
    'size': (500, 375),
    'crop': dict(type=int, default=224, help='side of the crops'),
    'workers': dict(type=int, nargs='*', default=[1, 2], help='of the data loaders'),
    'batches': dict(type=int, default=8, help='batches an epoch'),
    'epochs': dict(type=int, default=5, help='timed epochs'),
    'evaluation': dict(action='store_true', help="evaluation's input alone"),
    'quality': 90,
    'rounds': 31,
    'batch': 64,
}
check = use_one_core


def our_pipeline(crop: int, **options: Any) -> list[dict[str, Any]]:
    """Return the recipe's pipeline for a side of the crops, with options of its first step."""
    load, *others = Config.fromfile(RECIPE).train_dataloader.dataset.pipeline
    return [{**load, 'size': crop, **options}, *map(dict, others)]


def build(steps: Iterable[dict[str, Any]]) -> Compose:
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
    reference = random_crop_reference(crop, tuple(our_pipeline(crop)[0]['scale']))
    found: dict[str, Callable[[int], object]] = {}
    found['reference'] = lambda k: reference(io.BytesIO(files[k]))
    fastest = jpeg.choose_decoder()
    decoders = [name for name in jpeg.DECODERS if jpeg.available(name)]
    options = {f'ours, {name}': dict(decoder=name, backend='torch') for name in decoders}
    quick = dict(decoder=fastest, backend='cv2')
    options[f'ours, {fastest}, unfiltered resize'] = quick
    options[f'ours, {fastest}, unfiltered resize, plain chroma'] = quick | {'smooth_chroma': False}
    for name, choice in options.items():
        run = build(our_pipeline(crop, **choice))
        found[name] = lambda k, run=run: run(item(files, k))
    for name in decoders:
        found[f'bare decode, {name}'] = lambda k, name=name: whole(files[k], name)
    return found


def evaluation_pipelines(files: Sequence[bytes], crop: int) -> Pipelines:
    """Return what is compared on evaluation's view."""
    recipe = Config.fromfile(harness.ROOT / 'configs/imagenet/deit_vit-tiny_300e.py')
    load, center, pack = map(dict, recipe.val_dataloader.dataset.pipeline)
    ours, loader, packer = (
        build([load, {**center, 'size': crop}, pack]),
        build([load]),
        build([pack]),
    )
    reference = center_crop_reference(crop)

    def cut_first(k: int) -> object:
        results = loader(item(files, k))
        height, width = results['img'].shape[:2]
        side = round(min(height, width) * 224 / 256)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        results['img'] = resize_box(results['img'], box, (crop, crop), 'bicubic', 'pillow')
        return packer(results)

    return {
        'reference': lambda k: reference(io.BytesIO(files[k])),
        'ours': lambda k: ours(item(files, k)),
        'ours, cut before the resize (other pixels)': cut_first,
        'bare decode, cv2': lambda k: whole(files[k], 'cv2'),
    }


def parts_of_ours(files: Sequence[bytes], crop: int) -> Pipelines:
    """Return the parts of ours, each on what the others have made ready."""
    decoder, (load, *others) = jpeg.choose_decoder(), our_pipeline(crop)
    tool = datasets.RandomResizedCrop(crop, tuple(load['scale']), interpolation='random')
    pack = build(others)
    headers = [jpeg.read_header(data) for data in files]
    pixels = [whole(data, decoder) for data in files]
    ready = np.zeros((crop, crop, 3), np.uint8)

    def draw(k: int) -> Any:
        return tool.draw(*pixels[k].shape[:2])

    def resize(k: int) -> np.ndarray:
        return resize_box(pixels[k], draw(k), (crop, crop), tool.draw_method(), 'torch')

    return {
        'header, draw': lambda k: (jpeg.read_header(files[k]), draw(k)),
        'decode': lambda k: jpeg.decode_window(files[k], headers[k], draw(k), 1, decoder),
        'cut, resize': resize,
        'flag, pack': lambda k: pack({'img': ready, 'img_path': k}),
    }


def loaders(folder: Path, args: argparse.Namespace, workers: int) -> dict[str, DataLoader]:
    """Return the compared data loaders; those of one ready sample only hand batches over."""
    pipeline = our_pipeline(args.crop)
    ours = datasets.ImageFiles(str(folder), pipeline=pipeline)
    run = random_crop_reference(args.crop, pipeline[0]['scale'])
    reference = ImageFolder(str(folder), run, loader=Path)
    options: dict[str, Any] = dict(batch_size=args.batch, num_workers=workers, drop_last=True)
    options |= dict(persistent_workers=workers > 0)
    collate, sampler = datasets.collate_images, datasets.SeededSampler(ours, shuffle=True, seed=0)
    floats, packed = [reference[0]] * len(ours), [ours[0]] * len(ours)
    return {
        'reference': DataLoader(reference, shuffle=True, collate_fn=default_collate, **options),
        'ours': DataLoader(ours, sampler=sampler, collate_fn=collate, **options),
        'hand-over, floats': DataLoader(floats, collate_fn=default_collate, **options),
        'hand-over, ours': DataLoader(packed, collate_fn=collate, **options),
    }


def read_epoch(loader: DataLoader) -> None:
    """Iterate over a loader, looking at a byte of every page as a copy to a device would."""
    for batch in loader:
        images = batch['inputs'] if isinstance(batch, dict) else batch[0]
        images.flatten()[::1024].sum() if images.is_contiguous() else images[:, 0, :, ::8].sum()


def measure_loaders(files: Sequence[bytes], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare whole data loaders, epoch by epoch, in wall-clock time."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        Path(name, 'class').mkdir()
        for k in range(args.batch * args.batches):
            Path(name, f'class/{k:06d}.JPEG').write_bytes(files[k % len(files)])
        for workers in args.workers:
            compared = loaders(Path(name), args, workers)
            calls = {key: partial(read_epoch, loader) for key, loader in compared.items()}
            found = harness.compare(calls, args.epochs, 1, units=args.batches)
            rows += [{'name': key, 'workers': workers, **row} for key, row in found.items()]
    return [row | {'images_per_s': args.batch / row['median']} for row in rows]


def measure_device(args: argparse.Namespace, file: bytes) -> dict[str, Any]:
    """Time what the preprocessor does to a batch on the device, in seconds an image."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    preprocess = MODELS.build(Config.fromfile(RECIPE).model.data_preprocessor).to(device)
    batch = datasets.collate_images([build(our_pipeline(args.crop))(item([file], 0))] * args.batch)
    return harness.compare({device: lambda: preprocess(batch)}, 7, 1, device, units=args.batch)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure evaluation's input and, unless it alone is asked for, the rest."""
    files = photographs(args.size, args.quality)
    compared = {'evaluation': evaluation_pipelines(files, args.crop)}
    if not args.evaluation:
        compared['training'] = training_pipelines(files, args.crop)
        compared['parts of ours'] = parts_of_ours(files, args.crop)
    size = f'{args.size[0]}x{args.size[1]}'
    mean = statistics.mean(map(len, files)) / 1e3
    texts = [f'JPEG of {size} px, quality {args.quality}, {mean:.0f} kB, to {args.crop} px.\n']
    results: dict[str, Any] = {}
    for what, some in compared.items():
        results[what], text = harness.compare_pipelines(
            what, some, lambda _: range(len(files)), args.rounds
        )
        texts.append(text)
    if not args.evaluation:
        results['device'] = measure_device(args, files[0])
        ((device, row),) = results['device'].items()
        texts.append(f'Preprocessing on {device} takes {row["median"] * 1e6:.0f} us an image.\n')
        results['loaders'] = measure_loaders(files, args)
        columns: dict[str, harness.Column] = {
            'loader': '{name}',
            'workers': '{workers}',
            'ms/batch (IQR)': harness.spread(1e3, 1),
            'images/s': '{images_per_s:.0f}',
        }
        title = f'Data loaders, {args.batch} images a batch'
        texts.append(harness.table(title, columns, results['loaders']))
    return harness.Report(results | {'photographs': len(files)}, '\n'.join(texts))
