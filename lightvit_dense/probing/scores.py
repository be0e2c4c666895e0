"""How right predictions are, and a held-out part to choose settings by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Accuracy in percent."""

    top1: float
    top5: float  # of fewer classes, all of them count

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> 'Scores':
        """Measure scores [N, classes] against labels [N]; of equal scores the first class wins."""
        ranked = scores.sort(dim=1, descending=True, stable=True).indices[:, :5]
        hits = ranked == labels[:, None].to(ranked.device)
        return cls(
            100 * hits[:, 0].double().mean().item(), 100 * hits.any(1).double().mean().item()
        )

    @classmethod
    def joined(cls, parts: Sequence[tuple['Scores', int]]) -> 'Scores':
        """Average over chunks, each with its number of images."""
        total = sum(count for _, count in parts)
        means = (
            sum(getattr(scores, name) * count for scores, count in parts) / total
            for name in ('top1', 'top5')
        )
        return cls(*means)


def hold_out(
    labels: np.ndarray, ratio: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Part images in two, places ascending; a ratio of each class, rounded down, is held out."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind='stable')]  # class by class, shuffled within
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    chosen = rank < np.repeat(np.floor(ratio * counts), counts)
    return np.sort(order[~chosen]), np.sort(order[chosen])


def chunks(features: np.ndarray, size: int = 16384) -> Iterator[Tensor]:
    """Give features [N, C] in chunks of rows, each read from its file when its turn comes."""
    for start in range(0, len(features), size):
        yield torch.from_numpy(np.array(features[start : start + size]))
