"""Image to patch tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Embed non-overlapping patches with one convolution (parameter ``proj``)."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(
        self, image: Tensor, ids_keep: Tensor | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return tokens [B, rows*columns or K, dim] and the grid (rows, columns) of all patches.

        With ``ids_keep`` [B, K] other patches are not even read. Raises ValueError if the image is
        not a whole number of patches.
        """
        height, width = image.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'an image of {height}x{width} px is not a whole number of '
                f'{self.patch_size} px patches; pad it '
                f'(pad_size_divisor={self.patch_size} in the data preprocessor)'
            )
        if ids_keep is not None:
            grid = (height // self.patch_size, width // self.patch_size)
            return self._embed_some(image, ids_keep, grid), grid
        maps = self.proj(image)  # [B, dim, rows, columns]
        rows, columns = maps.shape[-2:]
        if torch.jit.is_tracing():  # which makes tensors of sizes; those of a grid are fixed
            rows, columns = int(rows), int(columns)
        # Sums keep the layout of their first term: left transposed, the tokens would stay so in
        # every block, and every norm would copy them.
        return maps.flatten(2).transpose(1, 2).contiguous(), (rows, columns)

    def _embed_some(self, image: Tensor, ids_keep: Tensor, grid: tuple[int, int]) -> Tensor:
        patch, (rows, columns) = self.patch_size, grid
        # [B, C, h*p, w*p] -> [B, h, w, C, p, p] without a copy -> [B, K, C, p, p]
        cells = image.reshape(len(image), -1, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
        batch = torch.arange(len(image), device=image.device)[:, None]
        row = torch.div(ids_keep, columns, rounding_mode='floor')
        kept = cells[batch, row, ids_keep - row * columns]
        return F.linear(kept.flatten(2), self.proj.weight.flatten(1), self.proj.bias)
