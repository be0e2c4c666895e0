"""What the processes of a job do together; a single process does it alone."""

import socket
from collections.abc import Callable
from typing import TypeVar

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank

from lightvit_dense.errors import UserError

T = TypeVar('T')


def together(call: Callable[[], T]) -> T:
    """Call a function on every process; where one fails, raise on all, naming rank and host."""
    error: Exception | None = None
    try:
        result = call()
    except Exception as caught:
        error = caught
    ours = isinstance(error, UserError)
    said = str(error) if ours else error and repr(error)
    told = all_gather_object((socket.gethostname(), said))
    if error is not None and (not ours or {text for _, text in told} == {said}):
        raise error
    failed = [f'rank {rank} ({host}): {text}' for rank, (host, text) in enumerate(told) if text]
    if failed:
        raise UserError('\n'.join(failed)) from error
    return result


def from_rank_zero(call: Callable[[], T]) -> T:
    """Call a function on rank 0, and return on every process what it gave there."""
    found = [together(lambda: call() if get_rank() == 0 else None)]
    broadcast_object_list(found)
    return found[0]  # type: ignore[return-value]
