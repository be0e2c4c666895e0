"""Open files in threads and collect those that are damaged."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..errors import DatasetError
from ..transforms.loading import BadImage
from .report import Report, Request

T = TypeVar('T')


def open_some(
    report: Report,
    request: Request,
    items: Sequence[T],
    try_one: Callable[[T], None],
    what: str,
    remedy: str,
) -> int:
    """Open a sample of files, or all, and report those that are damaged."""

    def attempt(item: T) -> str | None:
        try:
            try_one(item)
        except (BadImage, DatasetError, OSError) as error:
            return str(error)
        return None

    places = request.places(len(items))
    bad = []
    with ThreadPoolExecutor(max(1, request.workers)) as pool:
        results = pool.map(attempt, (items[place] for place in places))
        for done, reason in enumerate(results, 1):
            request.progress(f'opening {what}', done, len(places))
            if reason is not None:
                bad.append(reason)
    if bad:
        report.damaged(f'{len(bad)} of {len(places)} {what} opened', remedy, bad)
    return len(places)
