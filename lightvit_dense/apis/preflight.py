"""Find missing data and checkpoints before anything starts."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

from lightvit_dense.apis.config_keys import find_registered
from lightvit_dense.apis.configs import load_config, name_of, prepare_scope, prepare_work_dir
from lightvit_dense.apis.extra_tests import choose_extras
from lightvit_dense.checkpoints.packaged import fetch_advice
from lightvit_dense.compat.distributed import check_gpus
from lightvit_dense.datasets import memory_cache
from lightvit_dense.engine.options import read_engine_options
from lightvit_dense.engine.resume import refuse_used
from lightvit_dense.errors import UserError, user_errors
from lightvit_dense.utils.shipped import locate

HELP = dict(
    data="README.md, section 'Prepare data', tells how to get the data and where to put it.",
    checkpoint=(
        "README.md, section 'Pre-trained checkpoints', tells how to get or to make the checkpoints."
    ),
)
SECTIONS = dict(
    train=('train_dataloader', 'val_dataloader', 'val_evaluator'),
    test=('test_dataloader', 'test_evaluator'),
)


@dataclass(frozen=True)
class Asset:
    """A file or directory that a config needs."""

    path: str
    key: str  # dotted config key that asks for it
    kind: str  # 'data' or 'checkpoint'
    origin: str = ''  # where it can be had, if that is known

    @property
    def is_remote(self) -> bool:
        """Whether it is a URL, or of another file system, and cannot be checked here."""
        return '://' in self.path

    @property
    def is_missing(self) -> bool:
        """Whether it is local and does not exist."""
        return not self.is_remote and not locate(self.path).exists()


def find_assets(
    cfg: Config, mode: str = 'train', extras: Mapping[str, Mapping] | None = None
) -> list[Asset]:
    """List the files and directories that a config needs to 'train' or to 'test' with extras."""
    sections = {section: cfg.get(section) for section in SECTIONS[mode]}
    sections |= {f'extra_tests.{name}': entry for name, entry in (extras or {}).items()}
    found = [
        asset
        for section, node in sections.items()
        for place, key in _mappings(node, section)
        for asset in _dataset_assets(place, key)
    ]
    # Testing takes all weights from the checkpoint it is given.
    for node, key in _mappings(cfg.get('model'), 'model') if mode == 'train' else ():
        if isinstance(node.get('checkpoint'), str):
            path = node['checkpoint']
            found.append(Asset(path, f'{key}.checkpoint', 'checkpoint', fetch_advice(path)))
    if cfg.get('load_from'):
        key = '--resume' if cfg.get('resume') else 'load_from'
        found.append(Asset(str(cfg.load_from), key, 'checkpoint'))
    assets: dict[str, Asset] = {}
    for asset in found:
        assets.setdefault(asset.path, asset)
    return list(assets.values())


def find_missing(
    cfg: Config, mode: str = 'train', extras: Mapping[str, Mapping] | None = None
) -> list[Asset]:
    """List the local assets of :func:`find_assets` that do not exist."""
    return [asset for asset in find_assets(cfg, mode, extras) if asset.is_missing]


def raise_if_missing(missing: Sequence[Asset], cfg: Config) -> None:
    """Name every missing file, the key that asks for it, and where to read how to get it."""
    if not missing:
        return
    lines = [f'{name_of(cfg)} needs {len(missing)} file(s) or directories that do not exist:']
    lines += [f'  {asset.path}  ({asset.key})' for asset in missing]
    lines += dict.fromkeys(asset.origin for asset in missing if asset.origin)
    kinds = {asset.kind for asset in missing}
    texts = [text for kind, text in HELP.items() if kind in kinds]
    raise UserError('\n'.join(lines + ([cfg.help] if cfg.get('help') else texts)))


def check_training(
    config: str | Path | Config,
    work_dir: str | Path | None = None,
    resume: bool | str | None = None,
    cfg_options: dict | None = None,
) -> str:
    """Check that everything a training run needs exists; returns a line of what was found."""
    cfg = load_config(config, cfg_options)
    prepare_work_dir(cfg, work_dir)
    if isinstance(resume, str) and resume != 'auto':
        cfg.load_from, cfg.resume = resume, True
    read_engine_options(cfg)
    found = _check(cfg, 'train')
    resumed = cfg.get('load_from') if cfg.get('resume') else None
    if resume not in ('auto', True) and (resumed or not cfg.get('resume')):
        refuse_used(cfg.work_dir, resumed)
    return found


def check_testing(
    config: str | Path | Config,
    checkpoint: str | Path,
    cfg_options: dict | None = None,
    extra: Sequence[str] = (),
) -> str:
    """Check that everything an evaluation needs exists; returns a line of what was found."""
    cfg = load_config(config, cfg_options)
    cfg.load_from = str(checkpoint)
    return _check(cfg, 'test', choose_extras(cfg, extra))


def _check(cfg: Config, mode: str, extras: Mapping[str, Mapping] | None = None) -> str:
    gpus = check_gpus(int(os.environ.get('LOCAL_WORLD_SIZE', 1)))  # the launchers set it
    assets = find_assets(cfg, mode, extras)
    raise_if_missing([asset for asset in assets if asset.is_missing], cfg)
    remote = [asset.path for asset in assets if asset.is_remote]
    local = f'preflight: all {len(assets) - len(remote)} local files and folders exist; {gpus} GPUs'
    if remote:
        return f'{local}; not checked, because not local: {", ".join(remote)}'
    return local + copy_context().run(_build_data, cfg, mode, extras or {})


def _build_data(cfg: Config, mode: str, extras: Mapping[str, Mapping]) -> str:
    """Build data sets and metrics as the run will, so that all that they read is checked."""
    memory_cache.checking.set(True)
    prepare_scope(cfg)
    parts = [(section, cfg.get(section)) for section in SECTIONS[mode]]
    parts += [(f'{n}.{key}', value) for n, entry in extras.items() for key, value in entry.items()]
    told = ''
    with user_errors(cfg):
        for section, node in parts:
            if node and section.endswith('dataloader'):
                dataset = DATASETS.build(node['dataset'])
                if hasattr(dataset, 'full_init'):
                    dataset.full_init()
                told += f'; {section}: {len(dataset)} samples'
            elif node and section.endswith('evaluator'):
                metrics = node.get('metrics', node) if isinstance(node, Mapping) else node
                for metric in [metrics] if isinstance(metrics, Mapping) else metrics:
                    METRICS.build(metric)
    return told


def _mappings(node: Any, key: str) -> Iterator[tuple[Mapping, str]]:
    """Walk over all dicts of a part of a config, with their dotted keys."""
    if isinstance(node, Mapping):
        yield node, key
        children: Any = node.items()
    else:
        children = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, child in children:
        yield from _mappings(child, f'{key}.{name}')


def _dataset_assets(node: Mapping, key: str) -> Iterator[Asset]:
    """List what a data set needs: the files it names, else those it knows of below its root."""
    root = node.get('data_root') or ''
    prefix = node.get('data_prefix') or {}
    parts = {name: node.get(name) for name in _path_keys(node)}
    if isinstance(prefix, Mapping):
        parts |= {f'data_prefix.{k}': v for k, v in prefix.items()}
    else:
        parts['data_prefix'] = prefix
    named = {name: value for name, value in parts.items() if isinstance(value, str) and value}
    for name, value in named.items():
        yield Asset(_join(root, value), f'{key}.{name}', 'data')
    if root and not named:
        kind = node.get('type')
        built = find_registered(kind) if isinstance(kind, str) else kind
        required = getattr(built, 'required_files', None)
        options = {k: v for k, v in node.items() if k != 'type'}
        for path in required(**options) if required else [root]:
            yield Asset(path, f'{key}.data_root', 'data', getattr(built, 'ORIGIN', ''))


def _path_keys(node: Mapping) -> tuple[str, ...]:
    """Return the keys of a data set that name files and folders."""
    if 'img_dir' not in node:
        return ('ann_file',)
    if (kind := node.get('source')) in ('lmdb', 'packed'):  # there, folders are but parts of keys
        listed = Path(str(node.get('classes'))).suffix
        return ('ann_file', f'{kind}_path', *(('classes',) if listed else ()))
    return ('ann_file', 'classes', 'img_dir')


def _join(root: str, path: str) -> str:
    if not root or '://' in path or Path(path).is_absolute():
        return path
    return f'{root.rstrip("/")}/{path}'
