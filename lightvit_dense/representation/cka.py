"""Centred kernel alignment of all pairs of layers of two networks, batch by batch.

The estimator is that of Nguyen et al., "Do Wide and Deep Networks Learn the Same Things?" (2020,
equations 1 to 3), which the papers' figures use: linear Gram matrices K and L of the features of a
batch, their diagonals set to zero, give the unbiased HSIC of Song et al. (2012),

    HSIC(K, L) = [tr(KL) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)).

It is averaged over batches, and CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)). As each HSIC is
unbiased for every batch size, a larger batch makes the result steadier but does not shift it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightvit_dense.errors import UserError

LEAST = 4
"""Fewest images of a batch that the unbiased estimator is defined for."""
ESTIMATOR = 'minibatch, unbiased HSIC1'


def gram_matrices(features: Iterable[Tensor]) -> Tensor:
    """Return the linear Gram matrices [L, B, B], fp64 with zero diagonals, of features [B, ...].

    The batch's mean is taken off first. HSIC with zero diagonals does not change by that, but the
    products of networks in single precision then keep their digits.
    """
    grams = []
    for layer, x in enumerate(features):
        x = x.flatten(1)
        if len(x) < LEAST:
            raise UserError(f'a batch of {len(x)} images: CKA needs at least {LEAST} in each')
        centred = x - x.mean(0)
        if centred.norm() <= 10 * torch.finfo(x.dtype).eps * x.norm():
            centred = torch.zeros_like(x)  # what differs is rounding
        gram = (centred @ centred.T).double().fill_diagonal_(0)
        if not bool(gram.isfinite().all()):
            raise UserError(f'the features of layer {layer} are not finite: look at the checkpoint')
        grams.append(gram)
    return torch.stack(grams)


def hsic_of_pairs(left: Tensor, right: Tensor) -> Tensor:
    """Return the unbiased HSIC [L, M] of Gram matrices [L, B, B] and [M, B, B]."""
    n = left.shape[-1]
    rows_left, rows_right = left.sum(-1), right.sum(-1)  # [L, B], [M, B]
    # tr(KL) of symmetric matrices is the sum of their products; 1'KL1 that of their row sums.
    traces = left.flatten(1) @ right.flatten(1).T
    sums = torch.outer(rows_left.sum(-1), rows_right.sum(-1))
    crossed = rows_left @ rows_right.T
    total = traces + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * crossed
    return total / (n * (n - 3))


@dataclass
class MinibatchCKA:
    """CKA of all pairs of layers of two networks; memory does not grow with the images.

    A batch counts by its number of images, so that a smaller last one does not count too much. One
    of fewer than four images is left out; ``images`` and ``left_out`` count.
    """

    images: int = 0
    left_out: int = 0
    _sums: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def add(self, left: Mapping[int, Tensor], right: Mapping[int, Tensor]) -> None:
        """Take in the features {layer: [B, ...]} of both networks for the very same images."""
        sizes = {len(x) for x in (*left.values(), *right.values())}
        if len(sizes) != 1:
            raise UserError(f'features of {sorted(sizes)} images: both networks need the same ones')
        count = sizes.pop()
        if count < LEAST:
            self.left_out += count
            return
        grams, others = gram_matrices(left.values()), gram_matrices(right.values())
        others = others.to(grams.device)
        found = {'cross': hsic_of_pairs(grams, others), 'left': _own(grams), 'right': _own(others)}
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0) + count * value
        self.images += count

    def matrix(self) -> Tensor:
        """Return CKA [layers, layers], fp64; it is unbiased, so not bounded to 0..1."""
        if not self.images:
            raise UserError(
                f'{self.left_out} images are too few: CKA needs a batch of at least {LEAST}'
            )
        for side in ('left', 'right'):
            for layer, value in enumerate(self._sums[side].tolist()):
                if value <= 0:
                    raise UserError(
                        f'layer {layer} of the {"first" if side == "left" else "second"} network '
                        'tells no images apart: its CKA is not defined. Are the images all alike, '
                        'or did the network collapse?'
                    )
        scale = torch.outer(self._sums['left'], self._sums['right']).sqrt()
        return (self._sums['cross'] / scale).cpu()


def _own(grams: Tensor) -> Tensor:
    """Return each layer's HSIC with itself [L]."""
    return torch.cat([hsic_of_pairs(gram[None], gram[None])[0] for gram in grams])
