"""Image to patch tokens."""

from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Embed non-overlapping patches with one convolution (parameter ``proj``).

    Args:
        in_channels: Channels of the image.
        dim: Width of the tokens.
        patch_size: Side of a patch in pixels.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed.

        Args:
            image: [B, channels, H, W] with H and W multiples of the patch size.

        Returns:
            Tokens [B, rows*columns, dim] and the grid (rows, columns).

        Raises:
            ValueError: If the image is not a whole number of patches.
        """
        height, width = image.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'an image of {height}x{width} px is not a whole number of '
                f'{self.patch_size} px patches; pad it '
                f'(pad_size_divisor={self.patch_size} in the data preprocessor)'
            )
        maps = self.proj(image)  # [B, dim, rows, columns]
        return maps.flatten(2).transpose(1, 2), (maps.shape[-2], maps.shape[-1])
