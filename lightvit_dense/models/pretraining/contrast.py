"""The contrastive loss of MoCo-v3."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank
from torch import Tensor

from .precision import at_least_fp32


@torch.no_grad()
def gather_keys(keys: Tensor) -> Tensor:
    """Return keys [B, C] of all processes by rank [ranks*B, C], without gradients."""
    return torch.cat(all_gather(keys.contiguous()))


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Contrast queries with keys of all processes (MoCo-v3, equation 1, times 2 τ), in fp32."""
    with torch.autocast(queries.device.type, enabled=False):
        queries = F.normalize(at_least_fp32(queries), dim=1)
        keys = gather_keys(F.normalize(at_least_fp32(keys.detach()), dim=1))
        logits = queries @ keys.T / temperature  # [B, ranks*B]
        first = get_rank() * len(queries)
        labels = torch.arange(first, first + len(queries), device=queries.device)
        return 2 * temperature * F.cross_entropy(logits, labels)
