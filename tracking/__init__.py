"""Single-object tracking on :mod:`lightvit_dense`; importing it fills its registries."""

from typing import TYPE_CHECKING, Any

import lightvit_dense.registry  # the parent scope must exist first

from . import registry

if TYPE_CHECKING:
    from .runtime import Tracker

__all__ = ['Tracker', 'registry']


def __getattr__(name: str) -> Any:
    if name == 'Tracker':  # imports the building of models, which data sets do without
        from .runtime import Tracker

        return Tracker
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
