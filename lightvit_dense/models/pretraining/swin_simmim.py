"""SimMIM on Swin, with attention distillation, decoupled or not, as an option."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones import Encoding, SwinTransformer
from ..layers.swin import SwinBlock, init_swin
from .simmim import MaskedSquares


@MODELS.register_module()
class SwinDecoder(BaseModule):
    """The authors' decoder of SimMIM: a norm, a linear layer and one Swin block.

    Args:
        in_channels: Width of the tokens that it reads, in a map of ``grid_size`` (rows, columns).
        embed_dim: Width of the block, with ``num_heads`` and windows of ``window_size`` tokens.
    """

    def __init__(
        self,
        in_channels: int,
        grid_size: tuple[int, int],
        embed_dim: int = 96,
        num_heads: int = 3,
        window_size: int = 7,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dim = embed_dim
        self.norm = nn.LayerNorm(in_channels)
        self.embed = nn.Linear(in_channels, embed_dim)
        self.block = SwinBlock(embed_dim, grid_size, num_heads, window_size)
        init_swin(self)

    def forward(self, x: Tensor) -> Tensor:
        """Turn a map [B, rows, columns, in_channels] into [B, rows, columns, embed_dim]."""
        return self.block(self.embed(self.norm(x)))


@MODELS.register_module()
class SwinSimMIM(MaskedSquares):
    """SimMIM (Xie et al. 2022) on a :class:`SwinTransformer`.

    The backbone's own mask token takes the place of the embeddings of masked patches. A
    ``distiller``'s teacher sees the same masked image: it needs a mask token too.

    With ``reconstruct_after`` and the distiller's ``extra_layer`` reconstruction and distillation
    are decoupled as in D²-MAE (arXiv 2404.12210): pixels are predicted from what an earlier layer
    hands on, and the layers behind it learn from the teacher alone. Raises ValueError if encoder,
    squares, decoder and ``reconstruct_after`` do not fit each other.

    Args:
        backbone: See :class:`MaskedSquares`; with ``mask_token=True``, and ``final_norm=False``
            where there is a ``decoder``, which has a norm of its own.
        decoder: Config of a :class:`SwinDecoder` without ``type`` and sizes that follow from the
            encoder; ``None`` for a 1x1 convolution alone, as in the original SimMIM.
        reconstruct_after: Layer (1-based) whose output the decoder reads; ``None`` for the last.
    """

    encoder = SwinTransformer

    def __init__(
        self,
        backbone: dict[str, Any],
        decoder: dict[str, Any] | None = None,
        reconstruct_after: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone, **kwargs)
        swin = self.backbone
        if swin.mask_token is None:
            raise ValueError('SwinSimMIM needs a backbone with mask_token=True')
        size = tuple(side * swin.patch_size for side in swin.grid_size)
        if any(side % swin.unit_size for side in size):
            raise ValueError(
                f'img_size={size} is no whole number of {swin.unit_size} px, a token of the last '
                'stage, so that predictions would not cover it'
            )
        self.layer: int = self.check_reconstruct_after(reconstruct_after) or swin.num_layers
        if self.layer != swin.num_layers and decoder is None:
            raise ValueError('reconstruct_after needs a decoder, e.g. decoder=dict(embed_dim=96)')
        if decoder is not None and isinstance(swin.norm, nn.LayerNorm):
            raise ValueError('the decoder has a norm: give the backbone final_norm=False')
        self.grid = swin.grid_of(self.layer)
        sizes = dict(in_channels=swin.width_of(self.layer), grid_size=self.grid)
        kind = 'lightvit_dense.SwinDecoder'
        self.decoder = None if decoder is None else MODELS.build(dict(type=kind) | sizes | decoder)
        width = swin.embed_dims if self.decoder is None else self.decoder.embed_dim
        self.stride = swin.patch_size * swin.grid_size[0] // self.grid[0]
        self.head = nn.Conv2d(width, 3 * self.stride**2, kernel_size=1)

    def _visible(self, ids_mask: Tensor) -> Tensor:
        """Return the patches [B, K] that are not masked."""
        rows, columns = self.backbone.grid_size
        hidden = torch.zeros(
            len(ids_mask), rows * columns, dtype=torch.bool, device=ids_mask.device
        )
        # False sorts before True, and a stable sort keeps the order of each.
        order = hidden.scatter(1, ids_mask, True).byte().argsort(dim=1, stable=True)
        return order[:, : rows * columns - ids_mask.shape[1]]

    def _hide(self, ids_mask: Tensor) -> dict[str, Any]:
        hidden_of = () if self.decoder is None else (self.layer,)
        return dict(ids_keep=self._visible(ids_mask), hidden_of=hidden_of)

    def _predict(self, encoding: Encoding) -> Tensor:
        if self.decoder is None:
            x = encoding.tokens.unflatten(1, self.grid)
        else:
            x = self.decoder(encoding.hidden[self.layer].unflatten(1, self.grid))
        # [B, rows, columns, C] -> [B, 3*s*s, rows, columns] -> [B, 3, H, W]
        return F.pixel_shuffle(self.head(x.permute(0, 3, 1, 2)), self.stride)

    def agreement_view(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the images and one masking of them."""
        return inputs, self._visible(self._mask(inputs, None))
