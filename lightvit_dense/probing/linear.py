"""The published linear probe on features that are kept (arXiv 2111.06377, appendix A.1)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lightvit_dense.engine.optimizers import lars
from lightvit_dense.models.layers import trunc_normal_

from .scores import chunks

PUBLISHED_BATCH, PUBLISHED_IMAGES = 16384, 1_281_167


@dataclass(frozen=True)
class LinearOptions:
    """How the probe is trained: LARS without decay, linear warm-up, cosine to 0 by iteration.

    LARS moves a matrix in proportion to its own length, so the rate belongs to the number of steps,
    not to the batch: 6.4 goes with the published 78 an epoch.
    """

    epochs: int = 90
    warmup: int = 10  # epochs
    lr: float = 6.4
    batch_size: int = 0  # 0: as many steps an epoch as published, but 32 images at least
    seed: int = 0  # of the weights and of the order

    def batch_of(self, images: int) -> int:
        """Return the batch size for a number of images; at least two, which BatchNorm needs."""
        usual = max(32, round(images * PUBLISHED_BATCH / PUBLISHED_IMAGES))
        return max(2, min(images, self.batch_size or usual))

    def rate(self, epoch: float) -> float:
        """Return the learning rate at a point of the training in epochs."""
        if epoch < self.warmup:
            return self.lr * epoch / self.warmup
        part = (epoch - self.warmup) / (self.epochs - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * part))


class LinearProbe(nn.Module):
    """BatchNorm without learned scale and a linear layer, like the head of the classifier."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.fc = nn.Linear(width, num_classes)
        trunc_normal_(self.fc.weight, 0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores [B, classes] of features [B, C]."""
        return self.fc(self.bn(x))

    @torch.no_grad()
    def scores(self, features: np.ndarray) -> Tensor:
        """Return the scores [N, classes] of features on disk, on the CPU."""
        device = self.fc.weight.device
        return torch.cat([self.eval()(x.to(device)).cpu() for x in chunks(features)])


def fit_linear(
    views: Sequence[np.ndarray],
    labels: np.ndarray,
    num_classes: int,
    options: LinearOptions | None = None,
    places: np.ndarray | None = None,
    device: str | torch.device = 'cpu',
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LinearProbe:
    """Train the probe; returns it in evaluation mode.

    ``views`` are features [N, C] of the training images, read batch by batch; of several augmented
    views each epoch takes the next. Labels are int64 [N], ``places`` the rows to train with;
    ``on_progress`` is called with epochs done and in all.
    """
    options = options or LinearOptions()
    places = np.arange(len(labels)) if places is None else places
    batch = options.batch_of(len(places))
    steps = max(1, len(places) // batch)
    torch.manual_seed(options.seed)
    probe = LinearProbe(views[0].shape[1], num_classes).to(device).train()
    optimizer = lars(probe.parameters(), lr=options.lr, momentum=0.9)
    generator = np.random.default_rng(options.seed)
    for epoch in range(options.epochs):
        view, order = views[epoch % len(views)], generator.permutation(places)
        for step in range(steps):
            rows = np.sort(order[step * batch : (step + 1) * batch])
            x = torch.from_numpy(view[rows]).to(device)
            target = torch.from_numpy(labels[rows]).to(device)
            for group in optimizer.param_groups:
                group['lr'] = options.rate(epoch + step / steps)
            optimizer.zero_grad()
            nn.functional.cross_entropy(probe(x), target).backward()
            optimizer.step()
        on_progress(epoch + 1, options.epochs)
    return probe.eval()
