"""Multinomial logistic regression on kept features, to the optimum; scikit-learn's objective."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from .scores import chunks

KEPT_BYTES = 2**31
"""Standardised features are kept in memory up to so many bytes, else made again in each step."""


@dataclass
class LogisticModel:
    """A fitted regression of standardised features."""

    mean: Tensor  # of the training features [C]
    std: Tensor  # [C], 1 where it is 0
    weight: Tensor  # fp64 [classes, C]
    bias: Tensor  # fp64 [classes]
    gradient: float  # largest entry at the end; 0 at the optimum
    steps: int  # iterations taken

    def scores(self, features: np.ndarray) -> Tensor:
        """Return the scores [N, classes] of features on disk, on the CPU."""
        found = []
        for x in chunks(features):
            x = (x.to(self.mean) - self.mean) / self.std
            found.append((x @ self.weight.T + self.bias).cpu())
        return torch.cat(found)


def standardisation(features: np.ndarray, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [C] in fp64, by two passes over the file."""
    count = len(features)
    mean = sum(x.to(device).double().sum(0) for x in chunks(features)) / count
    square = sum((x.to(device).double() - mean).square().sum(0) for x in chunks(features)) / count
    std = torch.as_tensor(square).sqrt()
    return torch.as_tensor(mean), torch.where(std > 0, std, torch.ones_like(std))


def fit_logistic(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    c: float = 1.0,
    places: np.ndarray | None = None,
    device: str | torch.device = 'cpu',
    max_steps: int = 5000,
    tolerance: float = 1e-9,
) -> LogisticModel:
    """Minimise ``mean cross-entropy + |W|² / (2 c N)`` by scipy's L-BFGS in fp64.

    That is scikit-learn's ``LogisticRegression(C=c)`` divided by ``c N``, with all classes in a
    softmax; of two classes scikit-learn has a single vector, whose penalty counts double. Features
    [N, C] are standardised, as scikit-learn advises; if they are many, memory does not grow with N.
    The bias has no penalty. ``places`` are the rows to fit to; it stops where no entry of the
    gradient exceeds the tolerance.
    """
    if places is not None:
        features, labels = features[places], labels[places]
    mean, std = standardisation(features, device)
    targets = torch.from_numpy(np.asarray(labels)).to(device)
    width = features.shape[1]

    def prepared() -> Iterator[Tensor]:
        return ((x.to(device).double() - mean) / std for x in chunks(features))

    kept = list(prepared()) if features.size * 8 <= KEPT_BYTES else None

    def unpack(flat: np.ndarray) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(np.array(flat)).to(device).reshape(num_classes, width + 1)
        return both[:, :width], both[:, width]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = unpack(flat)
        loss = weight.square().sum() / (2 * c * len(features))
        slope = torch.cat([weight / (c * len(features)), torch.zeros_like(bias)[:, None]], dim=1)
        start = 0
        for x in prepared() if kept is None else kept:
            target = targets[start : start + len(x)]
            scores = (x @ weight.T + bias).log_softmax(1)
            loss -= scores.gather(1, target[:, None]).sum() / len(features)
            error = scores.exp_()  # the gradient of the scores: softmax minus one at the target
            error[torch.arange(len(x), device=x.device), target] -= 1
            error /= len(features)
            slope[:, :width] += error.T @ x
            slope[:, width] += error.sum(0)
            start += len(x)
        return loss.item(), slope.flatten().cpu().numpy()

    found = minimize(
        objective,
        np.zeros(num_classes * (width + 1)),
        jac=True,
        method='L-BFGS-B',
        options={'maxiter': max_steps, 'gtol': tolerance, 'ftol': 1e-15, 'maxls': 50},
    )
    if found.nit >= max_steps:
        warnings.warn(
            f'logistic regression stopped after {max_steps} iterations; raise the penalty (smaller '
            'C) or max_steps',
            stacklevel=2,
        )
    weight, bias = unpack(found.x)
    return LogisticModel(mean, std, weight, bias, float(np.abs(found.jac).max()), int(found.nit))
