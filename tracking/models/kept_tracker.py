"""A model's runtime tracker, kept for as long as the model stays the same."""

from typing import Any

from torch import Tensor


def _stamp(tensor: Tensor) -> tuple[int, int]:
    """Return what changes when a tensor is written to or replaced."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


class KeptTracker:
    """Makes the runtime tracker of a model once for many sequences.

    A tracker's network is a copy of the weights, put together anew, so it holds until the model
    changes. Changes are seen by the version counters of parameters and buffers. Writing through
    ``.data``, as averages of weights do, leaves those as they are: the model calls :meth:`drop`
    whenever its mode is set, which every validation and test does at its beginning.

    Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._tracker: Any = None
        self._state: tuple = ()

    def __reduce__(self) -> tuple:
        return KeptTracker, ()

    def drop(self) -> None:
        """Forget the tracker and its copy of the weights."""
        self._tracker, self._state = None, ()

    def of(self, model: Any) -> Any:
        """Return the :class:`~tracking.runtime.tracker.Tracker` of a model as it is now.

        Args:
            model: An :class:`OneStreamTracker` in evaluation mode.
        """
        from .. import runtime  # which imports this package

        state = (
            tuple(map(_stamp, model.parameters())),
            tuple(map(_stamp, model.buffers())),
            tuple(sorted(model.test_cfg.items())),
            model.backbone.final_keep_ratio,
        )
        if self._tracker is None or self._tracker.model is not model or state != self._state:
            # In this order: making it puts the model into evaluation mode, which drops what is
            # kept.
            tracker = runtime.Tracker.from_model(model)
            self._tracker, self._state = tracker, state
        return self._tracker
