"""Checks that necks share."""

from collections.abc import Sequence

from torch import Tensor, nn

RESCALES = (4, 2, 1, 0.5, 0.25)


def check_levels(rescales: Sequence[float]) -> None:
    """Check the scales of a pyramid.

    Raises:
        ValueError: If a scale is unknown or they do not descend.
    """
    known = all(rescale in RESCALES for rescale in rescales)
    if not rescales or not known or sorted(set(rescales), reverse=True) != list(rescales):
        raise ValueError(f'rescales={tuple(rescales)} must descend, out of {RESCALES}')


def check_maps(neck: nn.Module, maps: Sequence[Tensor], levels: int) -> None:
    """Check that a neck gets one map a level.

    Raises:
        ValueError: If it does not.
    """
    if len(maps) != levels:
        raise ValueError(
            f'{type(neck).__name__} makes {levels} levels out of as many maps, got {len(maps)}: '
            f'name {levels} blocks in the out_indices of the backbone'
        )
