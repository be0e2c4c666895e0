"""A small image set in memory."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..errors import DatasetError
from ..subsets import balanced_subset


class SmallSetError(DatasetError):
    """A small set whose source is missing or damaged; the message tells how to get it."""


@dataclass(frozen=True)
class SmallSet:
    """Grey images with labels, in two parts."""

    name: str
    classes: tuple[str, ...]  # names in the order of the labels; they become folders
    train: tuple[np.ndarray, np.ndarray]  # uint8 images [N, H, W] and their labels int64 [N]
    val: tuple[np.ndarray, np.ndarray]  # the same of the part that is measured on
    split: str  # where the two parts come from
    origin: str
    licence: str  # on what terms

    def digest(self) -> str:
        """Return a SHA-256 of all images, labels and words."""
        hashed = hashlib.sha256()
        for images, labels in (self.train, self.val):
            hashed.update(repr(images.shape).encode())
            hashed.update(images.tobytes())
            hashed.update(labels.astype('<i8').tobytes())
        for words in (self.name, *self.classes, self.split, self.origin, self.licence):
            hashed.update(words.encode() + b'\0')
        return hashed.hexdigest()


Part = tuple[np.ndarray, np.ndarray]


def stratified_split(
    images: np.ndarray, labels: np.ndarray, share: float, seed: int = 0
) -> tuple[Part, Part]:
    """Put the same share of every class aside; images [N, H, W], labels [N]."""
    aside = np.zeros(len(labels), bool)
    aside[balanced_subset(labels, share, seed)] = True
    return (images[~aside], labels[~aside]), (images[aside], labels[aside])
