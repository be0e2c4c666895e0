"""The networks whose inside is looked at: a config's backbone with the weights of a checkpoint."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.apis.explain import user_errors
from lightvit_dense.errors import UserError
from lightvit_dense.probing import build_network
from lightvit_dense.utils.io import sha256 as file_digest

RANDOM = 'none'
"""Given in place of a checkpoint: random weights."""


@dataclass(frozen=True)
class Subject:
    """A network under study, and what a reader must know about it.

    Attributes:
        backbone: Frozen and in evaluation mode, on its device.
        title: Name in tables and pictures.
        config: Where the architecture comes from.
        checkpoint: Where the weights come from, or 'none'.
        sha256: Digest of the checkpoint's file; None for random weights.
        mean: Of the RGB channels in 0..255, from the config's data preprocessor.
        std: Their deviation.
        size: Side of the image in px that the config's backbone is made for.
        notes: What happened to the weights as they were loaded.
    """

    backbone: Any
    title: str
    config: str
    checkpoint: str
    sha256: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    notes: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The title as part of a file's name."""
        # D²-MAE must not have the file of D-MAE.
        plain = unicodedata.normalize('NFKD', self.title).lower()
        return re.sub(r'[^a-z0-9]+', '-', plain).strip('-') or 'model'

    def to_dict(self, layers: list[int]) -> dict[str, Any]:
        """Return what the JSON of an analysis says about the network.

        Args:
            layers: Layers that were looked at.
        """
        return {
            'title': self.title,
            'config': self.config,
            'checkpoint': self.checkpoint,
            'sha256': self.sha256,
            'layers': layers,
        }

    def check_size(self, size: int) -> None:
        """Refuse a size that is not a whole number of patches, or of mask units.

        Args:
            size: Side of the image in px.

        Raises:
            UserError: If the backbone cannot take it.
        """
        step = getattr(self.backbone, 'unit_size', self.backbone.patch_size)
        if size < step or size % step:
            raise UserError(
                f'--size {size}: {self.title} takes multiples of {step} px; '
                f'take {max(1, round(size / step)) * step}'
            )


def load_subject(
    config: str | Path | Config,
    checkpoint: str | Path,
    device: str | torch.device | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    title: str | None = None,
) -> Subject:
    """Build the backbone of a config with the weights of a checkpoint.

    A final norm is always there, as in :func:`~lightvit_dense.probing.build_network`;
    where the checkpoint has none it is a plain LayerNorm, which a note says.

    Args:
        config: Any config with ``model.backbone`` but a tracker's.
        checkpoint: Any checkpoint of any source that the library reads; 'none' for random weights.
        device: Where the network goes; CUDA where there is one by default.
        cfg_options: Values of the config to override, by dotted key.
        seed: Seed of random weights.
        title: Name in tables and pictures; the config's stem by default.

    Raises:
        UserError: If the config has no such backbone.
        CheckpointError: If the checkpoint cannot be read or does not fit.
    """
    cfg = load_config(config, cfg_options)
    prepare_scope(cfg)
    name = str(cfg.filename or 'config')
    _check_backbone(cfg, name)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    weights = str(checkpoint)
    with user_errors():
        network = build_network(cfg, weights, device, seed)
    normaliser = cfg.model.data_preprocessor
    mean, std = ([float(v) for v in normaliser.get(key) or ()] for key in ('mean', 'std'))
    if len(mean) != 3 or len(std) != 3:
        raise UserError(
            f'{name}: model.data_preprocessor has no mean and std of three channels: nothing says '
            'how to normalise images'
        )
    made_for = network.backbone.grid_size[0] * network.backbone.patch_size
    return Subject(
        network.backbone,
        title or Path(name).stem,
        name,
        weights,
        None if weights == RANDOM else file_digest(Path(weights).expanduser()),
        tuple(mean),
        tuple(std),
        made_for,
        tuple(network.notes),
    )


def load_backbone(
    config: str | Path | Config,
    checkpoint: str | Path,
    device: str | torch.device | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Any:
    """Return the backbone of :func:`load_subject`, in evaluation mode."""
    return load_subject(config, checkpoint, device, cfg_options, seed).backbone


def _check_backbone(cfg: Config, name: str) -> None:
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    if not backbone:
        raise UserError(
            f'{name} has no model.backbone: take a config of pre-training, classification, '
            'detection or segmentation'
        )
    # Trackers look at two images at once.
    if str(backbone.get('type', '')).startswith('tracking.'):
        raise UserError(
            f'{name}: {backbone["type"]} joins a template and a search region, which has no layers '
            'of one image. Take the pre-training config of the same architecture with '
            "model.backbone.cls_token=False (--cfg-options); the tracker's checkpoint fits it. Its "
            'attention to both is drawn by tracking.tools.track_video --attention'
        )
