"""The plain ViT over template and search image."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightvit_dense.models.backbones import VisionTransformer

from ..registry import MODELS
from .joint import JointTokens

FIXED = ('img_size', 'cls_token', 'out_type', 'out_indices', 'window', 'rel_pos', 'layer_scale')
"""Options of the plain backbone that make no sense over two images."""


@MODELS.register_module()
class JointVisionTransformer(JointTokens, VisionTransformer):  # type: ignore[misc]
    """A :class:`~lightvit_dense.VisionTransformer` that sees two images at once (Ye et al. 2022).

    Parameter names are timm's; ``pos_embed`` is the table of the search image, ``pos_embed_z`` that
    of the template. A checkpoint with one table fills both, resized. There is no class token.

    Args:
        arch: See :class:`~lightvit_dense.VisionTransformer`.
        template_size: (height, width) or side of the template in pixels.
        search_size: The same of the search image.
        elimination: ``None``, or a dict of ``blocks`` (0-based; default: at a quarter, half and
            three quarters of the depth, 3, 6 and 9 of 12) and ``keep`` (0.7), the part of search
            tokens that each of them keeps.
        template_tokens: Whose attention ranks the candidates: 'center' (one token in the middle),
            'middle' (the 2x2 in the middle), 'all' or 'box' (those with their centre in the
            target's box).
        **kwargs: See :class:`~lightvit_dense.VisionTransformer`; class token, windows, relative
            positions, LayerScale and taps are not possible.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = 'tiny',
        template_size: int | Sequence[int] = 128,
        search_size: int | Sequence[int] = 256,
        elimination: dict[str, Any] | None = None,
        template_tokens: str = 'center',
        **kwargs: Any,
    ) -> None:
        wrong = [name for name in FIXED if name in kwargs]
        if wrong:
            raise ValueError(f'JointVisionTransformer does not take {", ".join(wrong)}')
        super().__init__(arch, img_size=search_size, cls_token=False, out_type='featmap', **kwargs)
        self.stride = patch = self.patch_size
        self.add_template(template_size, search_size, patch, f'patch {patch}')
        self.template_grid = self.position_tables['pos_embed_z']
        self.search_grid = self.grid_size
        self.set_elimination(elimination, template_tokens, 0, self.num_layers)

    def embed_template(self, template: Tensor) -> Tensor:
        """Return the position-coded tokens [B, Z, C] of templates [B, 3, h, w]."""
        self.check_image(template, 'template')
        return self.patch_embed(template)[0] + self.pos_embed_z

    def embed_search(self, search: Tensor) -> Tensor:
        """Return the position-coded tokens [B, X, C] of search images [B, 3, H, W]."""
        self.check_image(search, 'search')
        return self.patch_embed(search)[0] + self.pos_embed

    def to_map(self, x: Tensor) -> Tensor:
        """Lay tokens [B, X, C] out as a map [B, C, rows, columns]."""
        return x.transpose(1, 2).reshape(x.shape[0], self.embed_dims, *self.search_grid)
