"""DINO's weighted nearest neighbours (arXiv 2104.14294, appendix F.1)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .scores import chunks

NEIGHBOURS = (10, 20, 100, 200)


class Neighbours:
    """Classify by the nearest training images [N, C] (labels int64 [N]) in cosine similarity.

    Each of the k nearest votes for its class with weight ``exp(similarity / temperature)``; the
    first of equals counts. ``queries`` and ``keys`` are looked at at a time.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        temperature: float = 0.07,
        device: str | torch.device = 'cpu',
        queries: int = 512,
        keys: int = 16384,
    ) -> None:
        self.features, self.num_classes = features, num_classes
        self.labels = torch.from_numpy(np.asarray(labels)).to(device)
        self.temperature, self.device = temperature, torch.device(device)
        self.queries, self.keys = queries, keys

    def scores(self, features: np.ndarray, counts: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield (number of neighbours, votes fp64 [rows, classes]), chunk after chunk of [M, C]."""
        most = min(max(counts), len(self.features))
        for x in chunks(features, self.queries):
            similarity, index = self._nearest(_unit(x.to(self.device)), most)
            votes = (similarity.double() / self.temperature).exp()
            classes = self.labels[index]
            for count in counts:
                total = votes.new_zeros(len(x), self.num_classes)
                yield count, total.scatter_add_(1, classes[:, :count], votes[:, :count]).cpu()

    def _nearest(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return similarities and places [rows, count] of the nearest, in descending order."""
        best = torch.empty(len(queries), 0, dtype=torch.int64, device=self.device)
        start = 0
        for x in chunks(self.features, self.keys):
            similarity = queries @ _unit(x.to(self.device)).T
            ranks = rank_key(similarity, start)
            best = torch.cat([best, ranks.topk(min(count, len(x)), dim=1).values], dim=1)
            best = best.topk(min(count, best.shape[1]), dim=1).values
            start += len(x)
        return from_rank_key(best)


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x.float(), dim=1)


def rank_key(similarity: Tensor, start: int) -> Tensor:
    """Return unique integers that order by similarity fp32 [rows, columns], then by place."""
    bits = (similarity + 0.0).view(torch.int32)  # + 0 makes -0 and 0 alike
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    place = torch.arange(start, start + similarity.shape[1], device=similarity.device)
    return (ordered.long() << 32) + (0xFFFFFFFF - place)


def from_rank_key(key: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarities (fp32) and places (int64) of :func:`rank_key`."""
    ordered = (key >> 32).int()
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return bits.view(torch.float32), 0xFFFFFFFF - (key & 0xFFFFFFFF)
