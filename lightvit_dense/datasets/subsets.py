"""Parts of a labelled data set: the same share of every class, or a long tail."""

from collections.abc import Sequence

import numpy as np

from .determinism import mix_seed
from .errors import DatasetError


def check_fraction(fraction: float) -> None:
    """Check a share."""
    if not 0 < fraction <= 1:
        raise DatasetError(f'the fraction must lie in (0, 1], got {fraction}')


def balanced_subset(labels: Sequence[int] | np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose the same share of every class [N], at least one image; of one seed they nest."""
    check_fraction(fraction)
    labels = np.asarray(labels)
    found, counts = np.unique(labels, return_counts=True)
    sizes = {
        label: max(1, round(fraction * count))
        for label, count in zip(found.tolist(), counts.tolist(), strict=True)
    }
    return sized_subset(labels, sizes, seed)


def sized_subset(
    labels: Sequence[int] | np.ndarray, sizes: dict[int, int], seed: int
) -> np.ndarray:
    """Choose so many images of every class of labels [N]; subsets of one seed nest."""
    labels = np.asarray(labels)
    by_class = np.argsort(labels, kind='stable')
    found, starts = np.unique(labels[by_class], return_index=True)
    groups = np.split(by_class, starts[1:]) if len(found) else []
    chosen = [np.empty(0, np.int64)]
    for label, places in zip(found.tolist(), groups, strict=True):
        size = sizes.get(label, 0)
        if size > len(places):
            raise DatasetError(
                f'class {label} has {len(places)} images, {size} are asked for; ask for fewer'
            )
        order = np.random.default_rng(mix_seed(seed, label)).permutation(len(places))
        chosen.append(places[order[:size]])
    return np.sort(np.concatenate(chosen))


def long_tail_sizes(
    labels: Sequence[int] | np.ndarray,
    largest: int = 1280,
    smallest: int = 5,
    seed: int = 0,
    power: float = 6.0,
) -> dict[int, int]:
    """Choose class sizes of labels [N] that fall off as in ImageNet-LT.

    Liu et al., Large-scale long-tailed recognition in an open world (2019) draw them from a Pareto
    distribution of power 6, from 1280 images to 5. Here they are its evenly spaced quantiles,
    stretched to reach exactly from the smallest to the largest; a seed draws which class is how
    large, among those that have enough images. Smaller bounds make each class smaller, so that of
    one seed such a subset is part of the larger one as long as no class runs out of images.
    """
    if not 1 <= smallest <= largest or power <= 0:
        raise DatasetError(
            'the smallest class must have at least 1 image and no more than the largest, and power '
            f'must be positive; got {smallest}, {largest} and {power}'
        )
    found, counts = np.unique(np.asarray(labels), return_counts=True)
    quantiles = (1 - np.arange(len(found)) / len(found)) ** (-1 / power) - 1
    share = quantiles / quantiles.max() if len(found) > 1 else np.ones(1)
    sizes = np.round(smallest + (largest - smallest) * share).astype(int)[::-1]
    order = np.random.default_rng(mix_seed(seed, len(found))).permutation(len(found)).tolist()
    chosen = {}
    for size in sizes.tolist():
        # Largest first: whatever class could take this size could take any later one too.
        fitting = next((place for place in order if counts[place] >= size), None)
        if fitting is None:
            raise DatasetError(
                f'no class is left that has {size} images; the largest has {counts.max()}. Ask for '
                'a smaller largest class.'
            )
        order.remove(fitting)
        chosen[int(found[fitting])] = size
    return chosen
