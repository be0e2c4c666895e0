"""What all pre-trainers share: a backbone, perhaps a distiller, and the way mmengine calls them."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ...registry import MODELS
from ..backbones import Encoding


class Pretrainer(BaseModel):
    """Base of the pre-trainers; a subclass implements :meth:`loss`.

    Args:
        backbone: Config of the encoder.
        distiller: Config of an :class:`AttentionDistiller`, or ``None``.
        data_preprocessor: Config of the normaliser of images.
    """

    one_graph = True  # see lightvit_dense.CompileHook

    def __init__(
        self,
        backbone: dict[str, Any],
        distiller: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.distiller = None if distiller is None else MODELS.build(distiller)
        if self.distiller is not None:
            self.distiller.bind(self.backbone, self.data_preprocessor)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Run the model the way mmengine asks, on normalised images [B, 3, H, W] or views.

        'loss' gives the losses, 'predict' what ``reconstruct`` gives where the method has it,
        'tensor' the backbone's outputs.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict' and hasattr(self, 'reconstruct'):
            return self.reconstruct(inputs)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(
            f"{type(self).__name__}: mode is 'loss', 'tensor' or, for methods that reconstruct, "
            f"'predict'; got '{mode}'"
        )

    def loss(self, inputs: Any, data_samples: Any = None) -> dict[str, Tensor]:
        """Return the losses by name, in fp32 whatever AMP does; see :meth:`forward`."""
        raise NotImplementedError

    def encode(
        self,
        inputs: Tensor,
        ids_keep: Tensor | None = None,
        hidden_of: Sequence[int] = (),
        **options: Any,
    ) -> Encoding:
        """Run :meth:`Backbone.encode`, asking for what the distiller needs as well."""
        logits_of: Sequence[int] = ()
        if self.distiller is not None:
            logits_of = self.distiller.student_layers
            hidden_of = sorted({*hidden_of, *self.distiller.student_hidden})
        return self.backbone.encode(inputs, ids_keep, logits_of, hidden_of, **options)

    def distill(
        self, inputs: Tensor, encoding: Encoding, ids_keep: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of :meth:`AttentionDistiller.forward`, none without a distiller."""
        if self.distiller is None:
            return {}
        return self.distiller(inputs, encoding, ids_keep)

    def agreement_view(self, inputs: Any) -> tuple[Tensor, Tensor | None]:
        """Return the images that :meth:`attention_agreement` looks at, and what is visible."""
        return inputs, None

    @torch.no_grad()
    def attention_agreement(self, inputs: Any) -> dict[str, float]:
        """Return {'layer_i': R²} by student layer; see :meth:`AttentionDistiller.agreement`."""
        if self.distiller is None:
            raise ValueError('attention agreement needs a distiller')
        images, ids_keep = self.agreement_view(inputs)
        depth = self.backbone.num_layers
        encoding = self.backbone.encode(images, ids_keep, range(1, depth + 1), (depth,))
        return self.distiller.agreement(images, encoding, ids_keep)
