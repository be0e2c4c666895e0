"""A frozen backbone, and which vectors are read from it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.io import sha256

POOLS = ('cls', 'mean')
# Options that change neither the weights nor the features of a network in evaluation.
TRAINING_ONLY = ('init_cfg', 'drop_path_rate', 'with_cp')


@dataclass(frozen=True)
class Space:
    """One vector an image.

    Attributes:
        pool: 'cls' for the class token, 'mean' over the patch tokens.
        layer: Layer, 1-based, read before any final norm; 0 for the end of the backbone, after it.
    """

    pool: str
    layer: int = 0

    @property
    def name(self) -> str:
        """Name in tables and of files: 'cls', or 'cls_layer8'."""
        return f'{self.pool}_layer{self.layer}' if self.layer else self.pool


@dataclass
class Network:
    """What turns images into features.

    Attributes:
        backbone: Frozen and in evaluation mode, on its device.
        preprocessor: The normaliser of the config, on the same device.
        identity: What features depend on besides the images, as plain data.
        notes: What a reader of the results should know about the weights.
    """

    backbone: Any
    preprocessor: Any
    identity: dict[str, Any]
    notes: list[str]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.backbone.parameters()).device

    def spaces(self, pools: Sequence[str] | None, layers: Sequence[int]) -> list[Space]:
        """List the vectors that are asked for.

        Args:
            pools: Of 'cls' and 'mean'; ``None`` for the class token where there is one.
            layers: Layers, 0 for the end.

        Raises:
            UserError: If there is no class token or no such layer.
        """
        prefix, depth = self.backbone.num_prefix_tokens, self.backbone.num_layers
        pools = pools or (['cls'] if prefix else ['mean'])
        if 'cls' in pools and not prefix:
            raise UserError(
                '--features cls: the backbone has no class token; take --features mean, or set '
                'model.backbone.cls_token=True if the checkpoint has one'
            )
        wrong = [layer for layer in layers if not 0 <= layer <= depth]
        if wrong:
            raise UserError(
                f'--layer {wrong[0]}: the backbone has {depth} layers; give 1 to {depth}, or 0 for '
                'the end, after the final norm'
            )
        return [Space(pool, layer) for layer in layers for pool in pools]

    @torch.inference_mode()
    def features(self, batch: dict[str, Any], spaces: Sequence[Space]) -> list[Tensor]:
        """Return the features [B, C] of a collated batch, one tensor a space, fp32."""
        images = self.preprocessor(batch, False)['inputs']
        wanted = sorted({space.layer for space in spaces} - {0})
        encoding = self.backbone.encode(images, hidden_of=wanted)
        found = []
        for space in spaces:
            tokens = encoding.hidden[space.layer] if space.layer else encoding.tokens
            prefix = self.backbone.num_prefix_tokens
            found.append(tokens[:, 0] if space.pool == 'cls' else tokens[:, prefix:].mean(1))
        return [x.float() for x in found]


def build_network(
    cfg: Config, checkpoint: str, device: str | torch.device = 'cpu', seed: int = 0
) -> Network:
    """Build the backbone of a config with the weights of a checkpoint, for reading features only.

    The backbone gets its final norm even where the config leaves it out, as fine-tuning does: it is
    part of what a probe is told to freeze. A checkpoint without one leaves it a plain LayerNorm.

    Args:
        cfg: A config with ``model.backbone`` and ``model.data_preprocessor``.
        checkpoint: Any file that :func:`~lightvit_dense.checkpoints.load_backbone` reads, a whole
            model's among them; 'none' for random weights.
        device: Where the network goes.
        seed: Seed of random weights.

    Raises:
        UserError: If the config has no backbone, or one that does not tell its layers.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    model = cfg.get('model') or {}
    if 'backbone' not in model or 'data_preprocessor' not in model:
        raise UserError(
            f'{cfg.filename or "the config"} has no model.backbone and model.data_preprocessor; '
            'take a classification config'
        )
    options = {key: v for key, v in model['backbone'].items() if key not in TRAINING_ONLY}
    kind = MODELS.get(options['type']) if 'type' in options else None
    if kind is not None and not hasattr(kind, 'encode'):
        raise UserError(f'{options["type"]}: cannot be probed, it does not tell its layers')
    options['out_type'] = 'tokens'
    own = model['backbone'].get('init_cfg')
    torch.manual_seed(seed)
    backbone: Any = _with_norm(options, own if checkpoint == 'none' else None)
    if not hasattr(backbone, 'encode') or not hasattr(backbone, 'num_layers'):
        raise UserError(f'{options.get("type")}: cannot be probed, it does not tell its layers')
    notes = []
    if checkpoint == 'none':
        if not any('checkpoint' in entry for entry in _listed(own)):
            # mmengine logs every parameter; its loggers do not look at logging.disable() again.
            logger = MMLogger.get_current_instance()
            level = logger.level
            logger.setLevel(logging.WARNING)
            try:
                backbone.init_weights()
            finally:
                logger.setLevel(level)
        weights = f'random, seed {seed}'
    else:
        report = load_backbone(backbone, checkpoint)
        weights = sha256(Path(checkpoint).expanduser())
        notes += report.notes
        if 'norm.weight' in report.missing:
            notes.append('the checkpoint has no final norm: a plain LayerNorm took its place')
        rest = [name for name in report.missing if not name.startswith('norm.')]
        if rest:
            raise UserError(
                f'{checkpoint}: lacks {len(rest)} parameters of the backbone, such as {rest[0]}; '
                'features of random weights would be measured. Take the config of this checkpoint'
            )
    preprocessor: Any = MODELS.build(model['data_preprocessor'])
    keys = ('mean', 'std', 'bgr_to_rgb')
    identity = {
        'weights': weights,
        'backbone': plain(options),
        'input': {key: plain(model['data_preprocessor'].get(key)) for key in keys},
    }
    backbone.requires_grad_(False).eval().to(device)
    return Network(backbone, preprocessor.to(device), identity, notes)


def _listed(init: Any) -> list[Any]:
    return [] if init is None else list(init) if isinstance(init, (list, tuple)) else [init]


def _with_norm(options: dict[str, Any], init: Any) -> nn.Module:
    """Build a backbone with its final norm; one that has no such option as it is."""
    given = dict(options, init_cfg=init) if init is not None else options
    try:
        return MODELS.build(dict(given, final_norm=True))
    except TypeError as error:
        if 'final_norm' not in str(error):
            raise
        return MODELS.build(given)


def plain(value: Any) -> Any:
    """Turn config values into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
