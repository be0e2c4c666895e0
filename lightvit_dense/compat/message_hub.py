"""mmengine's message hub waits for the device at every number that it is given.

Symptom: ``update_scalar`` calls ``.item()`` on each loss, so that host and device wait for each
other in every iteration; and a history is copied whole for each number that it gets, which at
iteration 500,000 takes 5 ms each.

Cure: tensors travel to the host together and enter their histories when somebody reads those.
Histories grow in place.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

_UPDATE, _STATE, _APPEND = MessageHub.update_scalar, MessageHub.state_dict, HistoryBuffer.update


def _late(hub: MessageHub) -> Any:
    """Return the keys of what came as tensors, what is new of it, and what was sent to the host."""
    return hub.__dict__.setdefault('_late', SimpleNamespace(keys=set(), new=[], sent=[]))


def _read(hub: MessageHub, but: int = 0) -> dict[str, HistoryBuffer]:
    """Send what is new to the host, and read all but the last ``but`` parcels."""
    late = _late(hub)
    if not late.new:
        but = 0
    else:
        keys, values, counts = zip(*late.new, strict=True)
        device = next((value.device for value in values if value.is_cuda), values[0].device)
        numbers = torch.stack([value.to(device, non_blocking=True) for value in values])
        numbers = numbers.to('cpu', non_blocking=True)  # into pinned memory
        event = torch.cuda.current_stream(device).record_event() if device.type == 'cuda' else None
        late.sent.append((keys, numbers, counts, event))
        late.new = []
    while len(late.sent) > but:
        keys, numbers, counts, event = late.sent.pop(0)
        if event is not None:
            event.synchronize()
        for key, number, count in zip(keys, numbers.tolist(), counts, strict=True):
            hub._log_scalars[key].update(number, count)
    return hub._log_scalars


def late_scalars(hub: MessageHub) -> dict[str, HistoryBuffer]:
    """Return the histories up to the last call; called once an iteration, it never waits for it."""
    return _read(hub, but=1)


def _update_scalar(
    self: MessageHub, key: str, value: Any, count: int = 1, resumed: bool = True
) -> None:
    """Note a number; see :meth:`mmengine.logging.MessageHub.update_scalar`."""
    late = _late(self)
    if not isinstance(value, Tensor) or value.numel() != 1:
        if key in late.keys:
            _read(self)
        _UPDATE(self, key, value, count, resumed)
        return
    self._set_resumed_keys(key, resumed)
    if key not in self._log_scalars:  # now, for the order of the log
        self._log_scalars[key] = HistoryBuffer(np.empty(0), np.empty(0, np.int64))
    late.keys.add(key)
    value = value.cpu() if value.is_mps else value  # an Apple GPU has no float64
    # A copy: a compiled model uses the memory again.
    late.new.append((key, value.detach().reshape(()).to(torch.float64, copy=True), count))


def _get_scalar(self: MessageHub, key: str) -> HistoryBuffer:
    """Return a history, without waiting for others."""
    return (_read(self) if key in _late(self).keys else self._log_scalars)[key]


def _state_dict(self: MessageHub) -> dict:
    """Return what a checkpoint holds of it."""
    _read(self)
    return _STATE(self)


def _append(self: HistoryBuffer, log_val: float, count: int = 1) -> None:
    """Add a number to the history."""
    if len(self._log_history) >= self.max_length:
        _APPEND(self, log_val, count)
        return
    self._log_history = _longer(self._log_history, log_val)
    self._count_history = _longer(self._count_history, count)


def _longer(history: np.ndarray, value: float) -> np.ndarray:
    """Return a history and a number, the beginning of an array with room for more."""
    size, room, dtype = len(history), history.base, np.result_type(history, value)
    if not isinstance(room, np.ndarray) or len(room) == size or room.dtype != dtype:
        room = np.empty(max(64, 2 * size), dtype)
        room[:size] = history
    room[size] = value
    return room[: size + 1]


def install() -> None:
    """Replace the methods of mmengine's classes; may be called repeatedly."""
    MessageHub.update_scalar, MessageHub.get_scalar = _update_scalar, _get_scalar
    MessageHub.log_scalars, MessageHub.state_dict = property(_read), _state_dict
    HistoryBuffer.update = _append
