"""Checks of weights and predictions: finite, and not all alike."""

from collections.abc import Container, Mapping
from typing import Any

import torch
from mmengine.logging import print_log

from ..errors import UserError


def non_finite_entries(state: Mapping[str, Any], parameters: Container[str]) -> list[str]:
    """Name tensors that hold NaN; infinite values are an error of ``parameters`` alone."""
    bad = []
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            wrong = ~value.isfinite() if name in parameters else value.isnan()
            if wrong.any():
                bad.append(name)
    return bad


def require_finite(values: Any, sample: Any, what: str) -> None:
    """Refuse predictions that are not finite: the arg max of NaN would be the first class."""
    if not torch.as_tensor(values).isfinite().all():
        name = sample.get('img_path') or f'image {sample.get("img_id", "(unnamed)")}'
        raise UserError(
            f'{name}: the predicted {what} are NaN or infinite. The weights '
            'are damaged or the training diverged: take an earlier checkpoint, or test in 32 bits.'
        )


def warn_constant(what: str) -> None:
    """Warn of predictions that are the same for all inputs; ``what`` says which they are."""
    print_log(f'{what}. Check the checkpoint and its training.', logger='current', level=30)
