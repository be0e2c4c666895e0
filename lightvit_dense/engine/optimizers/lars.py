"""LARS (You et al., arXiv 1708.03888) as linear probes use it."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lightvit_dense.registry import OPTIMIZERS


@OPTIMIZERS.register_module(name='LARS')
def lars(
    params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    trust_coefficient: float = 0.001,
) -> Optimizer:
    """Build timm's LARS so that it computes what MAE's and MoCo-v3's linear probes do.

    The gradient of each matrix is scaled by ``trust_coefficient * |w| / (|g| + weight_decay |w|)``
    before momentum; that of a vector is neither scaled nor decayed. Where a norm is zero nothing is
    scaled. timm's own default adapts only what is decayed, and so nothing at a decay of 0. With a
    decay the paper's denominator is taken; MAE's code takes ``|g + weight_decay w|`` there.

    Args:
        params: Parameters, or groups of them; every group is split into matrices and vectors.
            Those that need no gradient are left out.
        lr: Learning rate; MAE's is 0.1 * batch / 256.
        momentum: Momentum of the scaled gradients.
        weight_decay: L2 penalty of matrices.
        trust_coefficient: Coefficient of the ratio of norms.
    """
    from timm.optim import Lars  # timm takes seconds to import

    if min(lr, momentum, weight_decay, trust_coefficient) < 0:
        raise ValueError(
            'LARS: lr, momentum, weight_decay and trust_coefficient must not be negative, got '
            f'{lr}, {momentum}, {weight_decay}, {trust_coefficient}'
        )
    given: list[Any] = list(params)
    groups = given if given and isinstance(given[0], dict) else [{'params': given}]
    split: list[dict[str, Any]] = []
    for group in groups:
        trained = [p for p in group['params'] if p.requires_grad]
        options = {key: v for key, v in group.items() if key not in ('params', 'param_names')}
        matrices, vectors = ([p for p in trained if (p.ndim > 1) is many] for many in (True, False))
        if matrices:
            split.append({**options, 'params': matrices, 'always_adapt': True})
        if vectors:
            fixed = {'weight_decay': 0.0, 'always_adapt': False}
            split.append({**options, 'params': vectors, **fixed})
    if not split:
        raise ValueError('LARS: no parameter needs a gradient')
    return Lars(
        split,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        trust_coeff=trust_coefficient,
        eps=0.0,
    )
