"""For the tools of the papers' analyses: options, networks, one pass over the images."""

import argparse
import copy
import re
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import Tensor

from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.apis.configs import load_config, name_of
from lightvit_dense.apis.loading import frozen_backbone
from lightvit_dense.apis.model import Model
from lightvit_dense.errors import UserError, user_errors
from lightvit_dense.registry import DATASETS
from lightvit_dense.representation import ImageStream
from lightvit_dense.utils.environment import environment, peak_memory_mb, reset_peak_memory
from lightvit_dense.utils.io import write_json
from lightvit_dense.utils.progress import Display, Progress
from lightvit_dense.visualization.curves import save_png


def add_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the options that all tools have; ``out`` is the default folder of results."""
    add = parser.add_argument
    text = 'folder of images, with its sub-folders; or a config (.py): its validation images'
    add('--images', required=True, metavar='DIR', help=text)
    add('--limit', type=int, default=1024, help='images to use; 0: all (default: 1024)')
    add('--batch-size', type=int, default=16, metavar='N', help='default: 16')
    text = "side of the view: one for all models, or one each (default: each config's own)"
    add('--size', type=int, nargs='+', metavar='PX', help=text)
    add('--device', help='cpu or cuda (default: cuda where there is one)')
    add('--seed', type=int, default=0, help='choice of the images, and random weights')
    add('--out', default=out, metavar='DIR', help='default: %(default)s')
    add_cfg_options(parser, 'of all configs')


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to name networks: one by place, or any number by ``--model``."""
    add = parser.add_argument
    add('config', nargs='?', help='config of the only network')
    add('checkpoint', nargs='?', help="its checkpoint, or 'none': random weights")
    add('--title', help='its name (default: that of the config)')
    names = ('CONFIG', 'CHECKPOINT [TITLE]')
    text = 'a network; give it once for each'
    add('--model', nargs='+', action='append', default=[], metavar=names, help=text)


def models_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> list[tuple[str, str, str | None]]:
    """Return (config, checkpoint, title) of each network that :func:`add_models` was given."""
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


class Session:
    """One pass of several (config, checkpoint, title) over the same images, in their own sizes."""

    def __init__(
        self, args: argparse.Namespace, models: Sequence[tuple[Any, str, str | None]], title: str
    ) -> None:
        self._args, self._title = args, title
        self.models = []
        for config, checkpoint, name in models:
            options = None if isinstance(config, Config) else args.cfg_options
            made = frozen_backbone(config, checkpoint, args.device, options, args.seed, name)
            self.models.append(made)
        for model in self.models:
            for note in model.notes:
                print(f'note: {model.title}: {note}')
        self.titles = [model.title for model in self.models]
        self.sizes = sizes_for(args.size, self.models)
        self._device = self.models[0].device
        self._began = time.perf_counter()
        reset_peak_memory(self._device)

    def batches(self) -> Iterator[list[Tensor]]:
        """Yield the batches of all networks [B, 3, size, size]; progress is shown meanwhile."""
        views = [(size, m.mean, m.std) for size, m in zip(self.sizes, self.models, strict=True)]
        streams = {view: self._stream(*view) for view in dict.fromkeys(views)}
        total, done = len(streams[views[0]]), 0
        with closing(Display()) as display:
            display.start(1, 1, self._title)
            for batches in zip(*streams.values(), strict=True):
                by_view = dict(zip(streams, batches, strict=True))
                yield [by_view[view] for view in views]
                done += len(batches[0])
                display.update(Progress(done, total))
            display.finish(f'{total} images')

    def _stream(self, size: int, mean: Any, std: Any) -> ImageStream:
        args = self._args
        source = validation_set(args.images) if args.images.endswith('.py') else args.images
        return ImageStream(
            source, size, args.batch_size, args.limit, args.seed, mean, std, self._device
        )

    def describe(self, place: int, layers: list[int]) -> dict[str, Any]:
        """Return what a JSON says about a network whose ``layers`` were looked at."""
        model = self.models[place]
        return {
            'title': model.title,
            'config': str(model.cfg.filename or 'config'),
            'checkpoint': 'none' if model.path is None else str(model.path),
            'sha256': None if model.path is None else model.identity['weights'],
            'layers': layers,
        }

    def metadata(self, images: int) -> dict[str, Any]:
        """Return what every JSON says besides its numbers, which belong to so many images."""
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


def validation_set(config: str) -> Any:
    """Build the validation images of a config, without its transforms."""
    cfg = load_config(config, scope=True)
    options = copy.deepcopy((cfg.get('val_dataloader') or {}).get('dataset'))
    if not options:
        raise UserError(f'{name_of(cfg)} has no val_dataloader; give a folder')
    with user_errors():
        dataset = DATASETS.build(dict(options, pipeline=[], test_mode=True))
    if not hasattr(dataset, 'get_data_info'):
        raise UserError(f'{type(dataset).__name__} does not tell its images; give a folder')
    return dataset


def sizes_for(given: Sequence[int] | None, models: Sequence[Model]) -> list[int]:
    """Return the side of each network's view: its own, the one given for all, or one given each."""
    if given and len(given) not in (1, len(models)):
        raise UserError(
            f'--size has {len(given)} values for {len(models)} models: give one for all, or one '
            'for each'
        )
    sizes = [model.image_size[0] for model in models]
    if given:
        sizes = list(given) * (len(models) // len(given))
    for model, size in zip(models, sizes, strict=True):
        step = model.side_multiple
        if size < step or size % step:
            raise UserError(
                f'--size {size}: {model.title} takes multiples of {step} px; '
                f'take {max(1, round(size / step)) * step}'
            )
    return sizes


def file_names(kind: str, titles: Sequence[str]) -> list[str]:
    """Return the stem of each network's file: the kind, with the title if there are several."""
    if len(titles) == 1:
        return [kind]
    # D²-MAE must not have the file of D-MAE.
    plain = [unicodedata.normalize('NFKD', title).lower() for title in titles]
    slugs = [re.sub(r'[^a-z0-9]+', '-', title).strip('-') or 'model' for title in plain]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice:
        raise UserError(
            f'two models would write {kind}_{twice[0]}.json: give each a title of its own '
            '(--model CONFIG CHECKPOINT TITLE)'
        )
    return [f'{kind}_{slug}' for slug in slugs]


def write_results(
    folder: str | Path, name: str, content: dict[str, Any], arrays: dict[str, np.ndarray]
) -> list[Path]:
    """Write ``NAME.json`` and ``NAME.npz``; returns the files."""
    files = [Path(folder) / f'{name}.json', Path(folder) / f'{name}.npz']
    write_json(files[0], content)
    np.savez(files[1], allow_pickle=False, **arrays)
    return files


def finish(figure: Any, path: Path, files: list[Path]) -> None:
    """Write the picture of an analysis, and print which files there are."""
    save_png(figure, path, dpi=150)
    for file in (*files, path):
        print(f'wrote {file}')
