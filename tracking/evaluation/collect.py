"""Results of several trackers from disk, complete or told to be not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lightvit_dense.errors import UserError, did_you_mean
from tracking.runtime.results import ResultError, find_result, read_result, read_seconds

from .rules import Rules
from .truth import Truth

_SHOWN = 5


@dataclass(eq=False)
class TrackerResults:
    """What a tracker left of some sequences.

    Attributes:
        name: Of the tracker.
        folder: Of its files.
        files: By sequence the files of its boxes, several if there are repetitions.
        boxes: By sequence what they hold, [N, 4] each.
        problems: By sequence why it cannot be used.
    """

    name: str
    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    boxes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def speed(self) -> float | None:
        """Return frames a second over all frames but the first ones; None without times.

        Frames over seconds: the got10k toolkit's mean of 1/seconds, first frames included, is more.
        """
        spent: list[np.ndarray] = []
        for files in self.files.values():
            seconds = read_seconds(files[0])
            spent += [] if seconds is None else [seconds[1:]]
        total = float(np.concatenate(spent).sum()) if spent else 0.0
        return sum(map(len, spent)) / total if total > 0 else None


def find_trackers(given: Sequence[str]) -> dict[str, Path]:
    """Read arguments that name folders of results.

    Args:
        given: 'FOLDER' or 'NAME=FOLDER' each.

    Returns:
        Folders by name of the tracker, which is the folder's unless it is told.

    Raises:
        UserError: If a folder is not there, or two trackers have one name.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, told, path = text.partition('=')
        if not told or Path(text).is_dir():
            name, path = '', text
        folder = Path(path)
        if not folder.is_dir():
            near = folder.parent
            others = [entry.name for entry in near.iterdir()] if near.is_dir() else []
            raise UserError(
                f'{folder}: is no folder of results.{did_you_mean(folder.name, others)}'
            )
        name = name or folder.resolve().name
        if name in found:
            raise UserError(f'two trackers are called {name!r}; write NAME={folder}')
        found[name] = folder
    return found


def read_tracker(
    name: str, folder: Path, truths: Sequence[Truth], rules: Rules, repetitions: bool = False
) -> TrackerResults:
    """Read the result files of a tracker; missing, damaged and short ones become problems.

    Args:
        name: Of the tracker.
        folder: Of its files, in LaSOT's or GOT-10k's layout.
        truths: Annotations of the sequences.
        rules: Tell what a prediction must be.
        repetitions: Whether to read all files ``<sequence>_001.txt``, ``_002.txt``, ... of
            GOT-10k's layout instead of the first one.
    """
    found = TrackerResults(name, folder)
    for truth in truths:
        file = find_result(folder, truth.name)
        if file is None:
            found.problems[truth.name] = f'{folder / truth.name}.txt is missing'
            continue
        files = _repetitions(file) if repetitions else [file]
        try:
            boxes = [read_result(path, rules.invalid == 'error') for path in files]
        except ResultError as error:
            found.problems[truth.name] = str(error)
            continue
        for path, entry in zip(files, boxes, strict=True):
            if len(entry) < len(truth.boxes) and rules.shorter == 'error':
                found.problems[truth.name] = (
                    f'{path} has {len(entry)} boxes for {len(truth.boxes)} frames'
                )
        found.files[truth.name], found.boxes[truth.name] = files, boxes
    if len(found.problems) == len(truths) and not any(find_result(folder, t.name) for t in truths):
        inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        hint = f' It has the folders {", ".join(inner[:_SHOWN])}.' if inner else ''
        raise UserError(
            f'{folder}: has no result of any of the {len(truths)} sequences, e.g. '
            f'{truths[0].name}.txt.{hint} Give the folder that holds the files of one tracker.'
        )
    return found


def _repetitions(file: Path) -> list[Path]:
    if file.stem != f'{file.parent.name}_001':
        return [file]
    pattern = re.compile(rf'{re.escape(file.parent.name)}_\d+\.txt')
    return sorted(path for path in file.parent.iterdir() if pattern.fullmatch(path.name))


def common_sequences(
    trackers: Sequence[TrackerResults], truths: Sequence[Truth], allow_missing: bool = False
) -> list[Truth]:
    """Return the sequences that all trackers have whole.

    Args:
        trackers: What was read.
        truths: All sequences.
        allow_missing: Whether some may be left out.

    Raises:
        UserError: Naming files, if some are missing and must not be, or none is left.
    """
    problems = [
        f'{tracker.name}: {problem}'
        for tracker in trackers
        for problem in tracker.problems.values()
    ]
    if problems and not allow_missing:
        more = f'\n  ... and {len(problems) - _SHOWN} more' if len(problems) > _SHOWN else ''
        listed = ''.join(f'\n  {problem}' for problem in problems[:_SHOWN])
        raise UserError(
            f'{len(problems)} results are missing or not whole:{listed}{more}\nRun the tracker '
            'again (finished sequences are kept), or give --allow-missing to leave these sequences '
            'out for all trackers.'
        )
    bad = {name for tracker in trackers for name in tracker.problems}
    left = [truth for truth in truths if truth.name not in bad]
    if not left:
        raise UserError(f'no sequence has a whole result of every tracker: {problems[0]}')
    return left
