"""From a name or a file, or a config with a checkpoint, to a frozen model."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.config_keys import constructor_arguments
from lightvit_dense.apis.configs import load_config, name_of, prepare_scope
from lightvit_dense.apis.files import EXPORT, Found, find
from lightvit_dense.apis.foreign import (
    check_complete,
    foreign_backbone,
    foreign_classifier,
    inspect,
    normaliser,
)
from lightvit_dense.apis.inferencers import task_of_class
from lightvit_dense.apis.model import EXAMPLES, Model
from lightvit_dense.apis.recorded import recorded_config
from lightvit_dense.checkpoints import load_backbone, read_checkpoint
from lightvit_dense.errors import UserError, did_you_mean, user_errors
from lightvit_dense.models.backbones.sizes import pair
from lightvit_dense.probing import plain
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.devices import check_device
from lightvit_dense.utils.home import installed_names
from lightvit_dense.utils.io import sha256

TASKS = ('features', *EXAMPLES)
RANDOM = 'none'
"""Given in place of a checkpoint: random weights."""
# Options that change neither the weights nor the features of a network in evaluation.
TRAINING_ONLY = ('init_cfg', 'drop_path_rate', 'with_cp')


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

    A checkpoint of ours carries its config; it is read as data, never run. Of a foreign one (timm,
    DeiT, MAE, mae-lite, DINO, MoCo-v3, Hiera, Hugging Face, ...) the architecture is inferred from
    the shapes. Images are normalised as a config.json or preprocessor_config.json beside it says,
    else by ImageNet's mean and deviation. It is a classifier where it has a linear head, else a
    backbone. Raises UserError if there is no such file or name, the weights do not fit, or the
    checkpoint is not for the task.

    Args:
        name_or_path: A checkpoint, a folder of a run, a config, or the name of a config of ours
            whose weights are in ``$LIGHTVIT_CHECKPOINTS`` or ``work_dirs/``, see
            :func:`~lightvit_dense.apis.files.find`. Nothing is downloaded.
        task: What it shall be used for; None for what it is for. 'features' takes the backbone of
            any checkpoint alone.
        config: The config, in place of the checkpoint's own. It is run: give one you trust.
        device: 'cpu', 'cuda', ...; a GPU if there is one.
        image_size: Side, or (height, width), in pixels of the images for features, attention and
            class scores; the size of training by default. Detectors and segmentors look at pictures
            in the size that their test transforms say, trackers in that of their crops.
        key: Which network to take where a foreign file has several, e.g. 'teacher'.
        heads: The number of heads of a foreign file (of Hiera's first stage), which the shapes do
            not determine.
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
    size = None if image_size is None else pair(image_size)
    if cfg is None:
        model = _foreign(path, task, key, heads, device, size)
    else:
        kind = _task_of(cfg, path)
        alone = config is None and _metadata(path).get('format') == 'lightvit_dense.backbone'
        _forbid('heads', heads, path)
        if kind is None or task == 'features' or alone:
            model = _backbone_alone(cfg, path, key, device, size)
        else:
            _forbid('key', key, path)
            network: Any = build_model(cfg, path, device)
            notes = network.load_notes
            model = Model(kind, network.backbone, cfg, path, network, size, notes)
    if task not in (None, model.task):
        raise UserError(
            f'{path}: is for {model.task}, not for {task}. Load a checkpoint of a config such as '
            f'{EXAMPLES[str(task)]!r}'
        )
    return model


def frozen_backbone(
    config: str | Path | Config,
    checkpoint: str | Path = RANDOM,
    device: str | torch.device | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    title: str | None = None,
) -> Model:
    """Build the backbone of a config with the weights of a checkpoint, to be measured.

    It gets its final norm even where the config leaves it out, as fine-tuning does. A checkpoint
    without one leaves it a plain LayerNorm, and a note says so.

    Args:
        config: Any config with ``model.backbone`` but a tracker's.
        checkpoint: Any file that :func:`~lightvit_dense.checkpoints.load_backbone` reads, a whole
            model's among them; 'none' for random weights.
        device: Where the network goes; a GPU if there is one.
        cfg_options: Values of the config to override, by dotted key.
        seed: Seed of random weights.
        title: Name in tables and pictures; the config's stem by default.
    """
    cfg, device = load_config(config, cfg_options, scope=True), check_device(device)
    options = _backbone_options(cfg, name_of(cfg))
    if options['type'].startswith('tracking.'):  # looks at two images at once
        raise UserError(
            f'{name_of(cfg)}: {options["type"]} joins a template and a search region, which has no '
            'layers of one image. Take the pre-training config of the same architecture with '
            "model.backbone.cls_token=False (--cfg-options); the tracker's checkpoint fits it. Its "
            'attention to both is drawn by tracking.tools.track_video --attention'
        )
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if any(len(preprocessor.get(key) or ()) != 3 for key in ('mean', 'std')):
        raise UserError(
            f'{name_of(cfg)}: model.data_preprocessor has no mean and std of three channels: '
            'nothing says how to normalise images'
        )
    path: Path | None = None
    notes: list[str] = []
    with user_errors(cfg):
        _check_encodes(options, name_of(cfg))
        if 'final_norm' in constructor_arguments(options['type'])[0]:
            options['final_norm'] = True
        if str(checkpoint) == RANDOM:
            backbone = _random_backbone(options, cfg.model.backbone.get('init_cfg'), seed)
        else:
            path = Path(checkpoint).expanduser()
            backbone, notes = _loaded_backbone(options, path)
    identity = dict(
        weights=f'random, seed {seed}' if path is None else sha256(path),
        backbone=options,
        input={key: preprocessor.get(key) for key in ('mean', 'std', 'bgr_to_rgb')},
    )
    return Model(
        'features',
        backbone.to(device),
        cfg,
        path,
        notes=notes,
        title=title or Path(cfg.filename or 'config').stem,
        identity=plain(identity),
    )


def _no_weights(found: Found) -> str:
    looked = '\n  '.join(found.looked)
    return installed_names(
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
    if export is not None and (task == 'features' or (cfg and _task_of(cfg, path) is None)):
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
    exported = path.suffix == '.safetensors'
    content: Any = _metadata(path) if exported else read_checkpoint(path, mmap=True)
    meta = content.get('meta') if isinstance(content, dict) else None
    text = meta.get('config' if exported else 'cfg') if isinstance(meta, dict) else None
    return None if text is None else recorded_config(text, str(path))


def _task_of(cfg: Config, path: Path) -> str | None:
    """Return the task of a config's model, None for a pre-trainer or another without one."""
    _backbone_options(cfg, str(cfg.filename or path))
    prepare_scope(cfg)
    with user_errors():
        return task_of_class(MODELS.get(cfg.model['type']))


def _forbid(name: str, value: Any, path: Path) -> None:
    if value is not None:
        raise UserError(f'{name}={value!r}: for files without a config; that of {path} tells it')


def _backbone_options(cfg: Config, name: str) -> dict[str, Any]:
    """Return the arguments of a config's backbone that count in evaluation."""
    backbone = (cfg.get('model') or {}).get('backbone')
    if not backbone:
        raise UserError(
            f'{name} has no model.backbone: take a config of pre-training, classification, '
            'detection or segmentation'
        )
    options = {key: value for key, value in backbone.items() if key not in TRAINING_ONLY}
    return dict(options, type=str(options.get('type')), out_type='tokens')


def _check_encodes(options: Mapping[str, Any], name: str) -> None:
    if not hasattr(MODELS.get(options['type']), 'encode'):
        raise UserError(
            f'{name}: {options["type"]} has no tokens to read. Take the module itself, '
            'lightvit_dense.apis.build_model(config, checkpoint).backbone'
        )


def _backbone_alone(
    cfg: Config, path: Path, key: str | None, device: torch.device, size: tuple[int, int] | None
) -> Model:
    """Build the backbone of a config and load it from a file of any kind."""
    options = _backbone_options(cfg, str(cfg.filename or path))
    if not options['type'].startswith('lightvit_dense.'):
        # A tracker's takes two images. The plain one has the same blocks, found by the shapes.
        return _foreign(path, 'features', key, _heads(options), device, size)
    with user_errors():
        _check_encodes(options, str(path))
        backbone: Any = MODELS.build(options)
    report = load_backbone(backbone, path, verbose=False, key=key)
    check_complete(report)
    return Model('features', backbone.to(device), cfg, path, None, size, report.changes)


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
    size: tuple[int, int] | None,
) -> Model:
    """Load a file without a config, by the shapes of what it holds."""
    inspection = inspect(path, key, heads)
    if task in ('detection', 'segmentation', 'tracking'):
        raise UserError(
            f'{path} ({inspection.converted.source}): carries no config, and shapes do not tell a '
            f"model for {task}. Name one: load(..., config='configs/...'), such as that of "
            f'{EXAMPLES[task]!r}'
        )
    whole = None if task == 'features' else foreign_classifier(inspection)
    if whole is not None:
        network, options, report = whole
        cfg = Config(dict(model=options))
        network, notes = network.to(device), report.changes
        return Model('classification', network.backbone, cfg, path, network, size, notes)
    backbone, report = foreign_backbone(inspection)
    cfg = Config(dict(model=dict(data_preprocessor=normaliser(inspection.path))))
    return Model('features', backbone.to(device), cfg, path, None, size, report.changes)


def _random_backbone(options: Mapping[str, Any], init: Any, seed: int) -> Any:
    """Build a backbone as its config initialises it, unless that reads a checkpoint."""
    torch.manual_seed(seed)
    backbone: Any = MODELS.build(dict(options, init_cfg=init))
    entries = init if isinstance(init, (list, tuple)) else [init or {}]
    if not any('checkpoint' in entry for entry in entries):
        # mmengine would log every parameter; its loggers ignore logging.disable().
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            backbone.init_weights()
        finally:
            logger.setLevel(level)
    return backbone


def _loaded_backbone(options: Mapping[str, Any], path: Path) -> tuple[Any, list[str]]:
    """Build a backbone and load a file, which may lack the final norm; returns notes, too."""
    backbone: Any = MODELS.build(options)
    report = load_backbone(backbone, path)
    notes = list(report.notes)
    if 'norm.weight' in report.missing:
        notes.append('the checkpoint has no final norm: a plain LayerNorm took its place')
    rest = [name for name in report.missing if not name.startswith('norm.')]
    if rest:
        raise UserError(
            f'{path}: lacks {len(rest)} parameters of the backbone, such as {rest[0]}; '
            'features of random weights would be measured. Take the config of this checkpoint'
        )
    return backbone, notes
