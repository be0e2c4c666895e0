"""Weights and predictions that are no numbers."""

from collections.abc import Container, Mapping
from typing import Any

import torch

from ..errors import UserError


def non_finite_entries(state: Mapping[str, Any], parameters: Container[str]) -> list[str]:
    """Name the tensors of a state dict that hold a value which is no number.

    Buffers may be infinite, as masks of attention are; ``parameters`` may not.
    """
    bad = []
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            wrong = ~value.isfinite() if name in parameters else value.isnan()
            if wrong.any():
                bad.append(name)
    return bad


def require_finite(values: Any, sample: Any, what: str) -> None:
    """Refuse predictions for a sample (a mapping) of which one is NaN or infinite.

    They would pass for good ones: the best of scores without a number is the first class.
    """
    if not torch.as_tensor(values).isfinite().all():
        name = sample.get('img_path') or f'image {sample.get("img_id", "(unnamed)")}'
        raise UserError(
            f'{name}: the model predicts {what} that are no numbers (NaN or infinite). The weights '
            'are damaged or the training diverged: take an earlier checkpoint, or test in 32 bits.'
        )
