"""The backbone that training starts from, and the shipped config that fits it."""

import os
from dataclasses import dataclass

from lightvit_dense.apis.loading import load
from lightvit_dense.errors import UserError
from lightvit_dense.utils.shipped import shipped_weights

SCRATCH = 'scratch'
BASES = {
    'classification': ('finetune_vit-tiny', 'finetune_vit-tiny', 'finetune_hiera-tiny'),
    'detection': ('maskrcnn_tiny', 'toyworld_maskrcnn', 'maskrcnn_hiera-tiny'),
    'segmentation': ('upernet_tiny', 'toyworld_upernet', 'upernet_hiera-tiny'),
    'tracking': ('ostrack256_tiny', 'toyworld_ostrack', ''),
    'pretraining': ('mae_vit-tiny', 'mae_vit-tiny', ''),
}
"""Configs to inherit from: for ViTs, for those of 8-px patches, for Hiera-Tiny."""


@dataclass(frozen=True)
class Start:
    """A backbone: ViT-Tiny with random weights, or that of a checkpoint."""

    checkpoint: str | None = None  # a path, or the name of shipped weights
    family: str = 'VisionTransformer'
    patch: int = 16
    width: int = 192
    depth: int = 12
    heads: int = 12

    @property
    def plain(self) -> bool:
        """Whether it is a ViT."""
        return self.family == 'VisionTransformer'

    @property
    def small(self) -> bool:
        """Whether it has patches of 8 px, as the ViTs of the toy world."""
        return self.plain and self.patch <= 8

    def base(self, task: str) -> str:
        """Return the name of the config that a task's inherits from."""
        base = BASES[task][1 if self.small else 0 if self.plain else 2]
        dense = task in ('detection', 'segmentation', 'tracking')
        if not base or (dense and self.patch not in (8, 16)):
            raise UserError(
                f'{self.checkpoint}: there is no config for {task} with a {self.family} of '
                f'{self.patch}-px patches; take a plain ViT of 8 or 16 px'
            )
        return base

    @property
    def sizes(self) -> str:
        """The sizes as a config's text."""
        arch = f'embed_dim={self.width}, depth={self.depth}, num_heads={self.heads}'
        return f'arch=dict({arch}), patch_size={self.patch}, '

    def arch(self, task: str) -> str:
        """Return the sizes as a config's text; '' if they are those of the task's base."""
        own = (8, 128, 6, 4) if 'toyworld' in self.base(task) else (16, 192, 12, 12)
        same = (self.patch, self.width, self.depth, self.heads) == own
        return '' if same or not self.plain else self.sizes.replace('(', '(_delete_=True, ', 1)


def find_start(name: str) -> Start:
    """Read the sizes of what a name stands for, as :func:`lightvit_dense.load` takes it."""
    if name == SCRATCH:
        return Start()
    model = load(name, task='features', device='cpu')
    backbone, family = model.backbone, type(model.backbone).__name__
    width: int = getattr(backbone, 'arch', {}).get('embed_dim', 0)
    checkpoint = name if name in shipped_weights() else os.path.abspath(str(model.path))
    if family == 'VisionTransformer':
        depth, heads = backbone.num_layers, backbone.num_heads
        return Start(checkpoint, family, backbone.patch_size, width, depth, heads)
    if (family, width) != ('Hiera', 46):
        raise UserError(
            f"{name}: is a {family} of width {width}; take a plain ViT, or the papers' Hiera-Tiny"
        )
    return Start(checkpoint, family)
