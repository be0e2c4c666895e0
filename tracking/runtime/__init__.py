"""Following one target through a video, frame by frame.

What is here is imported when it is first asked for: models use parts of this package, and this
package builds models.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .track import track_sequence
    from .tracker import Tracker, TrackResult

__all__ = ['TrackResult', 'Tracker', 'track_sequence']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import track, tracker

    return getattr(track if name == 'track_sequence' else tracker, name)
