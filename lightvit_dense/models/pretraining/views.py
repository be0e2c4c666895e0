"""Views of a batch: put together for the backbone, looked at for collapse."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def group_by_size(views: Sequence[Tensor]) -> list[Tensor]:
    """Concatenate neighbouring views [B, 3, h, w] of equal size, to run once a size."""
    groups: list[list[Tensor]] = []
    for view in views:
        if groups and groups[-1][0].shape[-2:] == view.shape[-2:]:
            groups[-1].append(view)
        else:
            groups.append([view])
    return [torch.cat(group) for group in groups]


@torch.no_grad()
def feature_spread(features: Tensor) -> Tensor:
    """Measure how different the features [B, C] of a batch are: near 1 is healthy, 0 is collapse.

    It is the deviation over the batch of L2-normalised features, averaged over channels, times the
    square root of their number (SimSiam, Chen and He 2021, §4.1).
    """
    unit = F.normalize(features.float(), dim=1)
    return unit.std(dim=0, unbiased=False).mean() * features.shape[1] ** 0.5
