"""Which classifiers are fitted to kept features, and the rows of the table they give."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from .cache import Part
from .logistic import fit_logistic
from .neighbours import Neighbours
from .scores import Scores, hold_out

METHODS = ('logistic', 'knn')


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    features: str  # name of the space
    method: str  # one of METHODS, or 'most frequent class'
    setting: str  # what was chosen or given, as text
    top1: float  # in percent
    top5: float
    seconds: float  # to fit and to score


@dataclass
class Probes:
    """Fit classifiers, the penalty chosen on a held-out fifth, and score them on validation."""

    train: Part
    val: Part
    num_classes: int
    cs: Sequence[float]
    counts: Sequence[int]
    temperature: float = 0.07
    device: str = 'cpu'
    on_progress: Callable[[str, int, int], None] = lambda title, done, total: None

    def baseline(self) -> Row:
        """Return the accuracy of always naming the most frequent training classes."""
        counts = torch.from_numpy(np.bincount(self.train.labels, minlength=self.num_classes))
        scores = counts.double()[None].expand(len(self.val.labels), -1)
        found = Scores.of(scores, torch.from_numpy(self.val.labels))
        return Row('none', 'most frequent class', '', found.top1, found.top5, 0.0)

    def measure(self, space: str, method: str) -> list[Row]:
        """Fit one of :data:`METHODS` to the features of a space."""
        start = time.perf_counter()
        if method == 'knn':
            found = self._neighbours(space)
        else:
            fits = {f'C {c:g}': partial(self._logistic, space, c) for c in self.cs}
            found = self._chosen(space, fits)
        seconds = time.perf_counter() - start
        return [Row(space, method, setting, s.top1, s.top5, seconds) for setting, s in found]

    def _logistic(self, space: str, c: float, places: Any) -> Any:
        given = self.train.features[space], self.train.labels, self.num_classes
        return fit_logistic(*given, c, places, self.device)

    def _chosen(
        self, space: str, fits: Mapping[str, Callable[[Any], Any]]
    ) -> list[tuple[str, Scores]]:
        """Choose among settings on a fifth of the training images, then fit to all of them."""
        name = next(iter(fits))
        if len(fits) > 1:
            inside, outside = hold_out(self.train.labels)
            features = self.train.features[space][outside]
            labels = torch.from_numpy(self.train.labels[outside])
            tried = {
                n: Scores.of(fit(inside).scores(features), labels).top1 for n, fit in fits.items()
            }
            name = max(tried, key=lambda n: tried[n])  # the first of equals
        scores = fits[name](None).scores(self.val.features[space])
        setting = name if len(fits) == 1 else f'{name} of {len(fits)}, held-out fifth'
        return [(setting, Scores.of(scores, torch.from_numpy(self.val.labels)))]

    def _neighbours(self, space: str) -> list[tuple[str, Scores]]:
        given = self.train.features[space], self.train.labels, self.num_classes
        voters = Neighbours(*given, self.temperature, self.device)
        labels = torch.from_numpy(self.val.labels)
        parts: dict[int, list[tuple[Scores, int]]] = {count: [] for count in self.counts}
        done = dict.fromkeys(self.counts, 0)
        for count, votes in voters.scores(self.val.features[space], self.counts):
            rows = labels[done[count] : done[count] + len(votes)]
            parts[count].append((Scores.of(votes, rows), len(votes)))
            done[count] += len(votes)
            self.on_progress(f'knn {space}', done[count], len(labels))
        return [(f'k {count}', Scores.joined(parts[count])) for count in self.counts]
