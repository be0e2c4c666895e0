"""Losses in full precision whatever AMP does."""

import torch
from torch import Tensor


def at_least_fp32(x: Tensor) -> Tensor:
    """Return half-precision tensors as fp32 and others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
