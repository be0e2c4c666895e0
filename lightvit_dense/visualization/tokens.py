"""What a vision transformer makes of one image: its patches as colours, and where it attends."""

import cv2
import numpy as np
import torch
from torch import Tensor

from .layout import Image, grid

OUTLIERS = 0.01  # of values, at an end, that do not set the range


def pca_colors(features: Tensor) -> Image:
    """Show patch tokens [C, rows, columns] as colours: their first three principal components.

    Red, green and blue are the components in falling order, each spread over 0..255. A sign, which
    PCA leaves open, is such that the tail of high values is the longer one.
    """
    tokens = features.detach().flatten(1).T.double().cpu()  # [N, C]
    tokens = tokens - tokens.mean(0)
    _, _, axes = torch.linalg.svd(tokens, full_matrices=False)
    components = tokens @ axes[:3].T  # [N, 3]
    components *= components.pow(3).sum(0).sign()
    ends = torch.tensor([OUTLIERS, 1 - OUTLIERS], dtype=torch.float64)
    low, high = components.quantile(ends, dim=0)
    spread = (components - low) / (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    colors = (255 * spread.clamp(0, 1)).round().byte().numpy()
    return colors.reshape(*features.shape[1:], 3)


def heat_map(values: Tensor) -> Image:
    """Show numbers [rows, columns] from dark (their least) to bright (their largest)."""
    found = values.detach().float().cpu()
    low, high = found.min(), found.quantile(1 - OUTLIERS)
    found = (found - low) / (high - low).clamp_min(1e-12)
    levels = (255 * found.clamp(0, 1)).round().byte().numpy()
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def draw_tokens(image: Image, features: Tensor, attention: Tensor) -> Image:
    """Draw an image, its tokens [C, rows, columns], and attention [heads, rows, columns]."""
    height, width = image.shape[:2]
    maps = [pca_colors(features), *map(heat_map, attention)]
    large = [cv2.resize(x, (width, height), interpolation=cv2.INTER_NEAREST) for x in maps]
    return grid([[np.asarray(image), *large]], background=255)
