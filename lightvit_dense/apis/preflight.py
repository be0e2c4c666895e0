"""Find missing data and checkpoints before anything starts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lightvit_dense.apis.config_keys import find_registered
from lightvit_dense.apis.configs import load_config, prepare_work_dir
from lightvit_dense.apis.extra_tests import choose_extras
from lightvit_dense.errors import UserError

DATA_HELP = "README.md, section 'Prepare data', tells how to get the data and where to put it."
CHECKPOINT_HELP = (
    "README.md, section 'Pre-trained checkpoints', tells how to get or to make the checkpoints."
)
SECTIONS = dict(
    train=('train_dataloader', 'val_dataloader', 'val_evaluator'),
    test=('test_dataloader', 'test_evaluator'),
)


@dataclass(frozen=True)
class Asset:
    """A file or directory that a config needs.

    Attributes:
        path: Where it should be.
        key: Dotted config key that asks for it.
        kind: 'data' or 'checkpoint'.
        origin: Where it comes from, '' if that is not known.
    """

    path: str
    key: str
    kind: str
    origin: str = ''

    @property
    def is_remote(self) -> bool:
        """Whether it is a URL, or of another file system, and cannot be checked here."""
        return '://' in self.path

    @property
    def is_missing(self) -> bool:
        """Whether it is local and does not exist."""
        return not self.is_remote and not Path(self.path).expanduser().exists()


def find_assets(
    cfg: Config, mode: str = 'train', extras: Mapping[str, Mapping] | None = None
) -> list[Asset]:
    """List the files and directories that a config needs.

    Args:
        cfg: The whole config.
        mode: 'train' or 'test'.
        extras: Extra tests that are to run too, by name.
    """
    assets: dict[str, Asset] = {}
    sections = {section: cfg.get(section) for section in SECTIONS[mode]}
    sections |= {f'extra_tests.{name}': entry for name, entry in (extras or {}).items()}
    for section, node in sections.items():
        for asset in _walk_data(node, section):
            assets.setdefault(asset.path, asset)
    # Testing takes all weights from the checkpoint it is given.
    found = list(_walk_checkpoints(cfg.get('model'), 'model')) if mode == 'train' else []
    if cfg.get('load_from'):
        found.append(
            Asset(
                str(cfg.load_from), '--resume' if cfg.get('resume') else 'load_from', 'checkpoint'
            )
        )
    for asset in found:
        assets.setdefault(asset.path, asset)
    return list(assets.values())


def find_missing(
    cfg: Config, mode: str = 'train', extras: Mapping[str, Mapping] | None = None
) -> list[Asset]:
    """List the local files and directories that a config needs and that do not exist.

    Args:
        cfg: The whole config.
        mode: 'train' or 'test'.
        extras: Extra tests that are to run too, by name.
    """
    return [asset for asset in find_assets(cfg, mode, extras) if asset.is_missing]


def raise_if_missing(missing: Sequence[Asset], cfg: Config) -> None:
    """Name every missing file, the config key that asks for it, and where to read how to get it.

    Args:
        missing: What :func:`find_missing` found.
        cfg: The config; its ``help`` string replaces the reference to the README.

    Raises:
        UserError: When anything is missing.
    """
    if not missing:
        return
    name = cfg.filename or 'the config'
    lines = [f'{name} needs {len(missing)} file(s) or directories that do not exist:']
    lines += [f'  {asset.path}  ({asset.key})' for asset in missing]
    kinds = {asset.kind for asset in missing}
    texts = [
        text
        for kind, text in (('data', DATA_HELP), ('checkpoint', CHECKPOINT_HELP))
        if kind in kinds
    ]
    lines += dict.fromkeys(asset.origin for asset in missing if asset.origin)
    lines += [cfg.help] if cfg.get('help') else texts
    raise UserError('\n'.join(lines))


def check_training(
    config: str | Path | Config,
    work_dir: str | Path | None = None,
    resume: bool | str | None = None,
    cfg_options: dict | None = None,
) -> str:
    """Check that everything a training run needs exists.

    Args:
        config: Config or its path.
        work_dir: Work directory of the run.
        resume: Checkpoint to resume from; True or 'auto' asks for none by name.
        cfg_options: Config values to override, by dotted key.

    Returns:
        A line that says what was found, and what could not be checked.

    Raises:
        UserError: Naming what is missing.
    """
    cfg = load_config(config, cfg_options)
    prepare_work_dir(cfg, work_dir)
    if isinstance(resume, str) and resume != 'auto':
        cfg.load_from, cfg.resume = resume, True
    raise_if_missing(find_missing(cfg, 'train'), cfg)
    return _summary(find_assets(cfg, 'train'))


def check_testing(
    config: str | Path | Config,
    checkpoint: str | Path,
    cfg_options: dict | None = None,
    extra: Sequence[str] = (),
) -> str:
    """Check that everything an evaluation needs exists.

    Args:
        config: Config or its path.
        checkpoint: Checkpoint to evaluate.
        cfg_options: Config values to override, by dotted key.
        extra: Names of extra tests that are to run too, or ('all',).

    Returns:
        A line that says what was found, and what could not be checked.

    Raises:
        UserError: Naming what is missing.
    """
    cfg = load_config(config, cfg_options)
    cfg.load_from = str(checkpoint)
    extras = choose_extras(cfg, extra)
    raise_if_missing(find_missing(cfg, 'test', extras), cfg)
    return _summary(find_assets(cfg, 'test', extras))


def _summary(assets: Sequence[Asset]) -> str:
    remote = [asset.path for asset in assets if asset.is_remote]
    note = f'; not checked, because not local: {", ".join(remote)}' if remote else ''
    return f'preflight: all {len(assets) - len(remote)} local files and directories exist{note}'


def _children(node: Any, key: str) -> Iterator[tuple[Any, str]]:
    if isinstance(node, Mapping):
        yield from ((value, f'{key}.{name}') for name, value in node.items())
    elif isinstance(node, (list, tuple)):
        yield from ((value, f'{key}.{index}') for index, value in enumerate(node))


def _walk_data(node: Any, key: str) -> Iterator[Asset]:
    if isinstance(node, Mapping):
        yield from _dataset_paths(node, key)
    for child, name in _children(node, key):
        yield from _walk_data(child, name)


def _dataset_paths(node: Mapping, key: str) -> Iterator[Asset]:
    root = node.get('data_root') or ''
    prefix = node.get('data_prefix') or {}
    parts = {name: node.get(name) for name in _path_keys(node)}
    parts |= (
        {f'data_prefix.{k}': v for k, v in prefix.items()}
        if isinstance(prefix, Mapping)
        else {'data_prefix': prefix}
    )
    named = {name: value for name, value in parts.items() if isinstance(value, str) and value}
    for name, value in named.items():
        yield Asset(_join(root, value), f'{key}.{name}', 'data')
    if root and not named:
        yield from _files_of(node, root, f'{key}.data_root')


def _files_of(node: Mapping, root: str, key: str) -> Iterator[Asset]:
    """Yield the files that a data set knows it needs below its root, else the root."""
    kind = node.get('type')
    built = find_registered(kind) if isinstance(kind, str) else kind
    required = getattr(built, 'required_files', None)
    paths = required(**{k: v for k, v in node.items() if k != 'type'}) if required else [root]
    for path in paths:
        yield Asset(path, key, 'data', getattr(built, 'ORIGIN', ''))


def _path_keys(node: Mapping) -> tuple[str, ...]:
    """Return the keys of a data set that name files and folders."""
    if 'img_dir' not in node:
        return ('ann_file',)
    if node.get('source') == 'lmdb':  # the images are in there; folders are no more than keys
        listed = Path(str(node.get('classes'))).suffix
        return ('ann_file', 'classes', 'lmdb_path') if listed else ('ann_file', 'lmdb_path')
    return ('ann_file', 'classes', 'img_dir')


def _join(root: str, path: str) -> str:
    if not root or '://' in path or Path(path).is_absolute():
        return path
    return f'{root.rstrip("/")}/{path}' if root != '/' else f'/{path}'


def _walk_checkpoints(node: Any, key: str) -> Iterator[Asset]:
    if isinstance(node, Mapping) and isinstance(node.get('checkpoint'), str):
        yield Asset(node['checkpoint'], f'{key}.checkpoint', 'checkpoint')
    for child, name in _children(node, key):
        yield from _walk_checkpoints(child, name)
