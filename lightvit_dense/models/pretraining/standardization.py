"""Attention logits on a scale that does not depend on the teacher."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn


class HeadStandardizer(nn.Module):
    """Shift and scale each head's logits to mean 0 and deviation 1 over all that it has seen.

    While training, every call adds its batch, summed over all processes, to the counts before it
    standardises. The first batch is thus standardised exactly, and the statistics settle as 1/n:
    the teacher is frozen, so there is nothing to forget, and no length of warm-up to choose. Counts
    are a buffer: a resumed run goes on with them, and all processes hold the same.

    Args:
        heads: How many heads the logits have.
    """

    sums: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        # Of each head: how many logits, their sum, the sum of their squares.
        self.register_buffer('sums', torch.zeros(3, heads, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, logits: Tensor) -> Tensor:
        """Standardise logits [B, heads, ..., K]; RuntimeError in evaluation before training."""
        if self.training:
            self._add(logits)
        elif not self.sums.any():
            raise RuntimeError(
                "target='standardized' has no statistics of the teacher yet: load a checkpoint of "
                'such a training, or call the distiller in training mode'
            )
        count, total, squares = self.sums
        mean, square = total / count, squares / count
        # A constant head becomes 0, whatever rounding makes of its deviation.
        variance = (square - mean.square()).clamp_min(1e-6 * square + 1e-24)
        # [heads] -> [heads, 1, ..., 1]
        shape = (-1, *[1] * (logits.ndim - 2))
        mean, scale = (x.to(logits.dtype).view(shape) for x in (mean, variance.rsqrt()))
        return (logits - mean) * scale

    def _add(self, logits: Tensor) -> None:
        axes = (0, *range(2, logits.ndim))
        var, mean = torch.var_mean(logits, axes, correction=0)
        var, mean = var.to(self.sums.dtype), mean.to(self.sums.dtype)
        batch = torch.stack([torch.ones_like(mean), mean, var + mean.square()])
        batch *= logits.numel() // logits.shape[1]
        all_reduce(batch)
        self.sums += batch
