"""From a name or a file to a model."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.apis.explain import user_errors
from lightvit_dense.apis.inference.inferencer import task_of_class
from lightvit_dense.checkpoints import load_backbone, read_checkpoint
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.models.backbones.sizes import pair
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.devices import check_device

from .find import EXPORT, Found, find
from .foreign import complete, foreign_backbone, foreign_classifier, inspect, normaliser
from .model import EXAMPLES, Model
from .recorded import recorded_config

TASKS = ('features', *EXAMPLES)
LATE = {'MaskRCNN': 'detection', 'EncoderDecoder': 'segmentation'}
"""Models whose classes are imported when they are built: the registry has a function till then."""


def load(
    name_or_path: str | os.PathLike,
    task: str | None = None,
    config: str | os.PathLike | Config | None = None,
    device: str | torch.device | None = None,
    image_size: int | tuple[int, int] | None = None,
    key: str | None = None,
    heads: int | None = None,
) -> Model:
    """Load a model, ready to be asked.

    A checkpoint of ours knows its config; it is read as data, never run. Of a foreign one (timm,
    DeiT, MAE, mae-lite, DINO, MoCo-v3, Hiera, Hugging Face, ...) the architecture is told by the
    shapes, images are normalised as a config.json or preprocessor_config.json beside it says, else
    by ImageNet's mean and deviation, and it is a classifier where it has a linear head, else a
    backbone.

    Args:
        name_or_path: A checkpoint, a folder of a run, a config, or the name of a config of ours
            whose weights are in ``$LIGHTVIT_CHECKPOINTS`` or ``work_dirs/``, see
            :func:`~lightvit_dense.apis.loading.find.find`. Nothing is downloaded.
        task: What it shall be used for; None for what it is for. 'features' takes the backbone of
            any checkpoint alone.
        config: The config, in place of the checkpoint's own. It is run: give one you trust.
        device: 'cpu', 'cuda', ...; a GPU if there is one.
        image_size: Side, or (height, width), in pixels of the images for features, attention and
            class scores; the size of training by default. Detectors and segmentors look at pictures
            in the size that their test transforms say, trackers in that of their crops.
        key: Which network to take where a foreign file has several, e.g. 'teacher'.
        heads: The number of heads of a foreign file (of Hiera's first stage), which shapes do not
            tell.

    Raises:
        UserError: If there is no such file or name, the weights do not fit, or the checkpoint is
            not for the task.
    """
    if task is not None and task not in TASKS:
        raise UserError(
            f'task={task!r}: must be one of {", ".join(TASKS)}.{did_you_mean(str(task), TASKS)}'
        )
    device = check_device(device)
    found = find(name_or_path)
    if not found.weights:
        raise UserError(_no_weights(found))
    path, cfg = _choose(found, config, task)
    kind = None if cfg is None else _kind(cfg, path)
    if cfg is None:
        model = _foreign(path, task, key, heads, device, image_size)
    elif kind is None or task == 'features' or _is_backbone(path, config):
        _forbid('heads', heads, path)
        model = _backbone_alone(cfg, path, key, device, image_size)
    else:
        _forbid('heads', heads, path)
        _forbid('key', key, path)
        network: Any = build_model(cfg, path, device)
        notes = network.load_notes
        model = Model(kind, network.backbone, network, cfg, path, _size(image_size), notes)
    if task not in (None, model.task):
        raise UserError(
            f'{path}: is for {model.task}, not for {task}. Load a checkpoint of a config such as '
            f'{EXAMPLES[str(task)]!r}'
        )
    return model


def _size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return None if image_size is None else pair(image_size)


def _no_weights(found: Found) -> str:
    looked = '\n  '.join(found.looked)
    return (
        f'{found.config}: no weights of it were found. Looked for\n  {looked}\n'
        f'Train it (python tools/train.py {found.config}), put the file into the folder that '
        "$LIGHTVIT_CHECKPOINTS names, or give the file: load('CHECKPOINT', config=...). Nothing is "
        'downloaded.'
    )


def _choose(
    found: Found, config: str | os.PathLike | Config | None, task: str | None
) -> tuple[Path, Config | None]:
    """Return which of the files that were found to load, and its config."""
    path = found.weights[0]
    if config is not None:
        return path, load_config(config if isinstance(config, Config) else Path(config))
    cfg = _recorded(path)
    if cfg is None and found.config is not None:
        cfg = load_config(found.config)
    # What a pre-trainer exports at its end is its better network: averaged, or the momentum one.
    export = next((file for file in found.weights if file.name == EXPORT), None)
    if export is not None and (task == 'features' or (cfg and _kind(cfg, path) is None)):
        return export, _recorded(export) or cfg
    return path, cfg


def _metadata(path: Path) -> dict[str, Any]:
    """Return what the .json beside a file of ours says."""
    try:
        metadata = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    ours = isinstance(metadata, dict) and str(metadata.get('format', '')).startswith(
        'lightvit_dense.'
    )
    return metadata if ours else {}


def _recorded(path: Path) -> Config | None:
    """Read the config that a file of ours carries, or the metadata beside it."""
    if path.suffix == '.safetensors':
        meta: Any = _metadata(path).get('meta')
        text = meta.get('config') if isinstance(meta, dict) else None
    else:
        content = read_checkpoint(path, mmap=True)
        meta = content.get('meta') if isinstance(content, dict) else None
        text = meta.get('cfg') if isinstance(meta, dict) else None
    return None if text is None else recorded_config(text, str(path))


def _is_backbone(path: Path, config: Any) -> bool:
    """Tell whether a file has a backbone alone, though its config has a whole model."""
    return config is None and _metadata(path).get('format') == 'lightvit_dense.backbone'


def _kind(cfg: Config, path: Path) -> str | None:
    """Return the task of a config's model, None for a pre-trainer or another without one."""
    model = cfg.get('model') or {}
    if 'backbone' not in model:
        raise UserError(f'{cfg.filename or path}: has no model.backbone; take another config')
    prepare_scope(cfg)
    with user_errors():
        found = MODELS.get(model['type'])
    if isinstance(found, type):
        return task_of_class(found)
    return LATE.get(model['type'].rpartition('.')[2])


def _forbid(name: str, value: Any, path: Path) -> None:
    if value is not None:
        raise UserError(f'{name}={value!r}: for files without a config; that of {path} tells it')


def _backbone_alone(
    cfg: Config,
    path: Path,
    key: str | None,
    device: torch.device,
    image_size: int | tuple[int, int] | None,
) -> Model:
    """Build the backbone of a config and load it from a file of any kind."""
    options = dict(cfg.model.backbone)
    if not str(options.get('type')).startswith('lightvit_dense.'):
        # A tracker's takes two images. The plain one has the same blocks, found by the shapes.
        heads = _heads(options)
        return _foreign(path, 'features', key, heads, device, image_size)
    for name in ('init_cfg', 'drop_path_rate', 'with_cp'):
        options.pop(name, None)
    options |= dict(out_type='tokens')
    with user_errors():
        if not hasattr(MODELS.get(options['type']), 'encode'):
            raise UserError(
                f'{path}: holds a {options["type"]}, which has no tokens to read. Take the module '
                'itself, lightvit_dense.apis.build_model(config, checkpoint).backbone'
            )
        backbone: nn.Module = MODELS.build(options)
    report = load_backbone(backbone, path, verbose=False, key=key)
    complete(report)
    size, backbone = _size(image_size), backbone.to(device)
    return Model('features', backbone, None, cfg, path, size, report.changes)


def _heads(options: dict[str, Any]) -> int | None:
    from lightvit_dense.models.backbones.hiera import HIERA_ARCHITECTURES
    from lightvit_dense.models.backbones.vit import ARCHITECTURES

    arch = options.get('arch', 'tiny')
    named: dict[str, Any] = dict(
        HIERA_ARCHITECTURES if 'Hiera' in options['type'] else ARCHITECTURES
    )
    return (named.get(arch, {}) if isinstance(arch, str) else arch).get('num_heads')


def _foreign(
    path: Path,
    task: str | None,
    key: str | None,
    heads: int | None,
    device: torch.device,
    image_size: int | tuple[int, int] | None,
) -> Model:
    """Load a file without a config, by the shapes of what it holds."""
    inspection = inspect(path, key, heads)
    source, size = inspection.converted.source, _size(image_size)
    if task in ('detection', 'segmentation', 'tracking'):
        raise UserError(
            f'{path} ({source}): carries no config, and shapes do not tell a model for {task}. '
            f"Name one: load(..., config='configs/...'), such as that of {EXAMPLES[task]!r}"
        )
    whole = None if task == 'features' else foreign_classifier(inspection)
    if whole is not None:
        network, options, report = whole
        network.to(device)
        cfg = Config(dict(model=options))
        return Model('classification', network.backbone, network, cfg, path, size, report.changes)
    backbone, report = foreign_backbone(inspection)
    cfg = Config(dict(model=dict(data_preprocessor=normaliser(inspection.path))))
    return Model('features', backbone.to(device), None, cfg, path, size, report.changes)
