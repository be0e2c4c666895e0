"""MoCo-v3: two views of an image are alike, those of other images are not."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...registry import MODELS
from .contrast import info_nce
from .momentum import MomentumPretrainer, frozen_copy
from .projection import batch_norm_mlp
from .views import feature_spread


@MODELS.register_module()
class MoCoV3(MomentumPretrainer):
    """MoCo-v3 (Chen et al. 2021) with the class token as the feature.

    Queries come from the model and keys from its momentum copy, which needs
    :class:`MomentumUpdateHook`. Batch normalisation of the heads is over each view apart; in
    distributed training give the config ``sync_bn='torch'``, which makes it one of all processes,
    as published. With a ``distiller`` the attention in both views follows the teacher's. Raises
    ValueError if the encoder has no class token or the temperature is not positive.

    Args:
        backbone: See :class:`Pretrainer`, as for all that is not named here.
        hidden: Width within the heads.
        out_channels: Width of what is compared.
        temperature: τ of the contrastive loss.
        stop_grad_patch_embed: Whether the patch embedding stays random (MoCo-v3, §4; not so in the
            ICML paper).
    """

    ema_targets = {'momentum_backbone': 'backbone', 'momentum_projector': 'projector'}

    def __init__(
        self,
        backbone: dict[str, Any],
        hidden: int = 4096,
        out_channels: int = 256,
        temperature: float = 0.2,
        stop_grad_patch_embed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, **kwargs)
        if temperature <= 0:
            raise ValueError(f'MoCoV3: temperature={temperature} must be positive')
        self.temperature = temperature
        width = self.backbone.embed_dims
        self.projector = batch_norm_mlp(3, width, hidden, out_channels)
        self.predictor = batch_norm_mlp(2, out_channels, hidden, out_channels)
        if stop_grad_patch_embed:
            self.backbone.patch_embed.requires_grad_(False)
        self.momentum_backbone = frozen_copy(self.backbone)
        self.momentum_projector = frozen_copy(self.projector)

    def loss(self, inputs: Sequence[Tensor], data_samples: Any = None) -> dict[str, Tensor]:
        """Return ``loss_contrast``, the distiller's losses and ``feature_spread`` (0 is collapse).

        ``inputs`` are two views of one size, normalised images [B, 3, H, W] each.
        """
        if len(inputs) != 2 or inputs[0].shape != inputs[1].shape:
            raise ValueError(
                f'MoCoV3 needs two views of one size, got {[tuple(view.shape) for view in inputs]}'
            )
        images = torch.cat(list(inputs))
        encoding = self.encode(images)
        features = encoding.tokens[:, 0].chunk(2)
        queries = [self.predictor(self.projector(x)) for x in features]
        keys = self._keys(images)
        loss = info_nce(queries[0], keys[1], self.temperature)
        loss = loss + info_nce(queries[1], keys[0], self.temperature)
        losses = {'loss_contrast': loss, 'feature_spread': feature_spread(features[0])}
        return losses | self.distill(images, encoding)

    @torch.no_grad()
    def _keys(self, images: Tensor) -> list[Tensor]:
        features = self.momentum_backbone.encode(images).tokens[:, 0].chunk(2)
        return [self.momentum_projector(x) for x in features]

    def agreement_view(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the first view, all visible."""
        return inputs[0], None
