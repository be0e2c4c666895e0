"""Lists of class-balanced parts of a labelled data set."""

from collections.abc import Sequence

import numpy as np

from .determinism import mix_seed
from .errors import DatasetError
from .imagenet import ImageNet


def balanced_subset(labels: Sequence[int] | np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose the same share of every class, at least one image each.

    Of one seed, a smaller subset is part of a larger one.

    Args:
        labels: Label of every image [N].
        fraction: Share in (0, 1], rounded to whole images class by class.
        seed: Seed.

    Returns:
        Places of the images chosen, ascending.

    Raises:
        DatasetError: If the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise DatasetError(f'the fraction must lie in (0, 1], got {fraction}')
    labels = np.asarray(labels)
    chosen = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        order = np.random.default_rng(mix_seed(seed, int(label))).permutation(len(places))
        chosen.append(places[order[: max(1, round(fraction * len(places)))]])
    return np.sort(np.concatenate(chosen))


def subset_lines(dataset: ImageNet, fraction: float, seed: int) -> list[str]:
    """Return the lines of a list for :class:`ImageNet`'s ``ann_file``: ``path label``.

    Args:
        dataset: The whole data set, with labels.
        fraction: Share of every class in (0, 1].
        seed: Seed.
    """
    places = balanced_subset(dataset.labels(), fraction, seed)
    return ['{} {}'.format(*dataset.entry(place)) for place in places.tolist()]
