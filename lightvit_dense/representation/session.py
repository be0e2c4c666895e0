"""What the tools of these analyses share: options, one pass over the images, and the metadata."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import DictAction
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.utils.progress import Progress, make_display
from lightvit_dense.utils.environment import environment, peak_memory_mb, reset_peak_memory
from lightvit_dense.utils.io import atomic_write

from .images import ImageStream
from .models import Subject, load_subject


def add_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the options that all tools have.

    Args:
        parser: The parser.
        out: Default folder of the results.
    """
    add = parser.add_argument
    add(
        '--images',
        required=True,
        metavar='DIR',
        help='folder of images, with its sub-folders; or a config (.py): its validation images',
    )
    add('--limit', type=int, default=1024, help='images to use; 0: all (default: 1024)')
    add('--batch-size', type=int, default=16, metavar='N', help='default: 16')
    add(
        '--size',
        type=int,
        nargs='+',
        metavar='PX',
        help="side of the view: one for all models, or one each (default: each config's own)",
    )
    add('--device', help='cpu or cuda (default: cuda where there is one)')
    add('--seed', type=int, default=0, help='choice of the images, and random weights')
    add('--out', default=out, metavar='DIR', help='default: %(default)s')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='of all configs')


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to name networks: one by place, or any number by ``--model``.

    Args:
        parser: The parser.
    """
    parser.add_argument('config', nargs='?', help='config of the only network')
    parser.add_argument('checkpoint', nargs='?', help="its checkpoint, or 'none': random weights")
    parser.add_argument('--title', help='its name (default: that of the config)')
    parser.add_argument(
        '--model',
        nargs='+',
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT [TITLE]'),
        help='a network; give it once for each',
    )


def models_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> list[tuple[str, str, str | None]]:
    """Return (config, checkpoint, title) of each network that :func:`add_models` was given.

    Args:
        parser: Tells wrong usage.
        args: Parsed options.
    """
    if bool(args.config) == bool(args.model) or (args.config and not args.checkpoint):
        parser.error('give CONFIG CHECKPOINT, or --model CONFIG CHECKPOINT [TITLE] once or more')
    if args.config:
        return [(args.config, args.checkpoint, args.title)]
    if args.title:
        parser.error('--title is of CONFIG CHECKPOINT; with --model it is the third word')
    for words in args.model:
        if len(words) not in (2, 3):
            parser.error(f'--model {" ".join(words)}: needs CONFIG CHECKPOINT [TITLE]')
    return [(words[0], words[1], words[2] if len(words) == 3 else None) for words in args.model]


def load_subjects(
    args: argparse.Namespace, models: Sequence[tuple[str, str, str | None]]
) -> list[Subject]:
    """Load the networks and print what happened to their weights.

    Args:
        args: Parsed options.
        models: (config, checkpoint, title) of each.

    Raises:
        UserError: If two have the same title.
    """
    subjects = [
        load_subject(config, weights, args.device, args.cfg_options, args.seed, title)
        for config, weights, title in models
    ]
    for subject in subjects:
        for note in subject.notes:
            print(f'note: {subject.title}: {note}')
    return subjects


class Session:
    """One pass of several networks over the same images.

    Args:
        args: Parsed options, see :func:`add_options`.
        subjects: The networks; each gets the images in its own size and normalisation.
        title: What the progress display says.

    Raises:
        UserError: If sizes and networks do not match, or there are too few images.
    """

    def __init__(self, args: argparse.Namespace, subjects: Sequence[Subject], title: str) -> None:
        self._args, self._subjects, self._title = args, subjects, title
        self.sizes = sizes_for(args.size, subjects)
        self._views = [(size, s.mean, s.std) for size, s in zip(self.sizes, subjects, strict=True)]
        self._device = next(subjects[0].backbone.parameters()).device
        self._began = time.perf_counter()
        reset_peak_memory(self._device)

    def batches(self) -> Iterator[list[Tensor]]:
        """Yield the batches of all networks [B, 3, size, size]; progress is shown meanwhile."""
        display = make_display()
        display.start(1, 1, self._title)

        def show(done: int, total: int) -> None:
            display.update(Progress(done, total))

        views = list(dict.fromkeys(self._views))
        streams = [self._stream(view, show if n == 0 else _silent) for n, view in enumerate(views)]
        try:
            for batches in zip(*streams, strict=True):
                yield [batches[views.index(view)] for view in self._views]
            display.finish(f'{len(streams[0])} images')
        finally:
            display.close()

    def _stream(self, view: Any, progress: Callable[[int, int], None]) -> ImageStream:
        size, mean, std = view
        args = self._args
        return ImageStream(
            args.images,
            size,
            args.batch_size,
            args.limit,
            args.seed,
            mean,
            std,
            self._device,
            progress,
        )

    def metadata(self, images: int) -> dict[str, Any]:
        """Return what every JSON says besides its numbers.

        Args:
            images: Images that were used.
        """
        same = len(set(self.sizes)) == 1
        return {
            'images': images,
            'source': str(self._args.images),
            'batch_size': self._args.batch_size,
            'seed': self._args.seed,
            'size': self.sizes[0] if same else self.sizes,
            'seconds': round(time.perf_counter() - self._began, 2),
            'peak_memory_mb': round(peak_memory_mb(self._device), 1),
            'environment': environment(),
        }


def _silent(done: int, total: int) -> None:
    """Show nothing."""


def sizes_for(given: Sequence[int] | None, subjects: Sequence[Subject]) -> list[int]:
    """Return the side of the view of each network.

    Args:
        given: None for the networks' own, one for all, or one each.
        subjects: The networks.

    Raises:
        UserError: If the numbers do not match, or a network cannot take its size.
    """
    if given and len(given) not in (1, len(subjects)):
        raise UserError(
            f'--size has {len(given)} values for {len(subjects)} models: give one for all, or one '
            'for each'
        )
    own = [subject.size for subject in subjects]
    sizes = own if not given else list(given) * (len(subjects) if len(given) == 1 else 1)
    for subject, size in zip(subjects, sizes, strict=True):
        subject.check_size(size)
    return sizes


def file_names(kind: str, subjects: Sequence[Subject]) -> list[str]:
    """Return the stem of each network's file: the kind alone, with the title if there are several.

    Raises:
        UserError: If two titles give the same name.
    """
    if len(subjects) == 1:
        return [kind]
    names = [f'{kind}_{subject.slug}' for subject in subjects]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f'two models would write {twice[0]}.json: give each a title of its own '
            '(--model CONFIG CHECKPOINT TITLE)'
        )
    return names


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write JSON, whole or not at all.

    Raises:
        ValueError: If a number is not finite.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, allow_nan=False) + '\n'
    atomic_write(path, text.encode())
    return path


def default_device(name: str | None) -> str:
    """Return the device that is meant.

    Raises:
        UserError: If it is CUDA and there is none.
    """
    if name and name.startswith('cuda') and not torch.cuda.is_available():
        raise UserError(f'--device {name}: no CUDA device is usable; take --device cpu')
    return name or ('cuda' if torch.cuda.is_available() else 'cpu')
