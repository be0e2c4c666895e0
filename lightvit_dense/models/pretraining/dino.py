"""DINO: a student that sees parts agrees with a teacher that sees more."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...registry import MODELS
from .momentum import MomentumPretrainer, frozen_copy
from .projection import DINOHead
from .self_distillation import DINOLoss
from .views import feature_spread, group_by_size


@MODELS.register_module()
class DINO(MomentumPretrainer):
    """DINO (Caron et al. 2021) with the class token as the feature.

    The first views are the global ones, which the teacher sees; the student sees all. Positions are
    resized for smaller views. The teacher is a momentum copy without drop path and needs
    :class:`MomentumUpdateHook`; it is the better network of the two, so configs export
    ``momentum_backbone``. With a ``distiller`` the attention in the global views follows that of a
    further, frozen teacher. Temperatures and ``center_momentum`` are :class:`DINOLoss`'s; raises
    ValueError if the encoder has no class token or a number is out of its range.

    Args:
        backbone: See :class:`Pretrainer`, as for all that is not named here.
        head: Arguments of :class:`DINOHead`, but for ``in_channels``.
        num_global_views: How many of the views the teacher sees.
    """

    ema_targets = {'momentum_backbone': 'backbone', 'momentum_head': 'head'}

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any] | None = None,
        num_global_views: int = 2,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        center_momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, **kwargs)
        if num_global_views < 1:
            raise ValueError(f'DINO: num_global_views={num_global_views} must be positive')
        self.num_global_views = num_global_views
        self.head = DINOHead(self.backbone.embed_dims, **(head or {}))
        prototypes = len(self.head.last_layer.weight_v)
        self.criterion = DINOLoss(
            prototypes, student_temperature, teacher_temperature, center_momentum
        )
        steady = {**backbone, 'drop_path_rate': 0.0} if 'drop_path_rate' in backbone else backbone
        self.momentum_backbone = frozen_copy(MODELS.build(steady))
        self.momentum_head = frozen_copy(self.head)
        self.reset_ema_targets()

    def loss(self, inputs: Sequence[Tensor], data_samples: Any = None) -> dict[str, Tensor]:
        """Return ``loss_dino``, the distiller's losses and ``feature_spread`` (0 is collapse).

        ``inputs`` are views, normalised images [B, 3, h, w] each, the global ones first and of one
        size, multiples of the patch. Raises ValueError if there are too few.
        """
        count = self.num_global_views
        sizes = [tuple(view.shape[-2:]) for view in inputs]
        if len(inputs) < max(2, count) or len(set(sizes[:count])) != 1:
            raise ValueError(
                f'DINO needs at least two views, the first {count} of one size, got {sizes}'
            )
        # Global views are a group of their own, whatever the size of the others.
        globals_ = torch.cat(list(inputs[:count]))
        encoding = self.encode(globals_)
        features = [encoding.tokens[:, 0]]
        features += [
            self.backbone.encode(images).tokens[:, 0] for images in group_by_size(inputs[count:])
        ]
        student = self.head(torch.cat(features)).chunk(len(inputs))
        teacher = self._teacher(globals_).chunk(count)
        losses = {
            'loss_dino': self.criterion(student, teacher),
            'feature_spread': feature_spread(features[0][: len(inputs[0])]),
        }
        return losses | self.distill(globals_, encoding)

    @torch.no_grad()
    def _teacher(self, images: Tensor) -> Tensor:
        return self.momentum_head(self.momentum_backbone.encode(images).tokens[:, 0])

    def agreement_view(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the global views, all visible."""
        return torch.cat(list(inputs[: self.num_global_views])), None
