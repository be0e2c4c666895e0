"""What a command line names: annotated sequences, and result files of several trackers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.apis import load_config
from lightvit_dense.errors import UserError, did_you_mean, user_errors

from ..datasets.whole import SequenceDataset
from ..registry import DATASETS
from ..runtime import results
from .protocol import Protocol
from .truth import Truth

SETS: dict[str, tuple[str, str | None]] = {
    'lasot': ('tracking.LaSOT', 'test'),
    'got10k': ('tracking.GOT10k', 'val'),
    'trackingnet': ('tracking.TrackingNet', 'test'),
    'otb': ('tracking.OTB', 'test'),
    'uav123': ('tracking.UAV123', 'test'),
    'nfs': ('tracking.NFS', 'test'),
    'tnl2k': ('tracking.TNL2K', 'test'),
    'custom': ('tracking.CustomSequences', None),
}
"""By the name on the command line: type of the set, and the split that is meant without one."""
USUAL: dict[str, dict[str, Any]] = {
    'got10k': dict(type='tracking.GOT10kMetric'),
    # pytracking, and UAV123's toolkit, count frames without a box as hits of the precision.
    'uav123': dict(type='tracking.OnePassEvaluation', protocol=dict(boxless_centre='hit')),
}
"""The metrics of sets that are not judged by the default one."""
_SHOWN = 5


def open_source(
    text: str,
    cfg_options: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
) -> tuple[SequenceDataset, dict[str, Any]]:
    """Open the sequences of a config or ``SET:FOLDER``, and the config of their metric."""
    if text.endswith('.py') or Path(text).is_file():
        if data_options:
            raise UserError(
                '--data-options sets options of SET:FOLDER; those of a config are set by '
                '--cfg-options test_dataloader.dataset.sequences.NAME=VALUE'
            )
        return _of_config(text, cfg_options)
    if cfg_options:
        raise UserError('--cfg-options changes a config, but none is given')
    sequences = describe_set(text, data_options)
    with user_errors():
        return SequenceDataset(sequences), USUAL.get(text.partition(':')[0], {})


def describe_set(text: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the config of ``SET:FOLDER[:SPLIT]``, SET in :data:`SETS`, with ``options``."""
    kind, told, place = text.partition(':')
    if not told or kind not in SETS:
        raise UserError(
            f'{text!r} is neither a config nor SET:FOLDER[:SPLIT] with SET one of '
            f'{", ".join(SETS)}.{did_you_mean(kind, SETS)}'
        )
    name, split = SETS[kind]
    if split is not None and not Path(place).is_dir() and ':' in place:
        place, _, split = place.rpartition(':')
    splits = {} if split is None else {'split': split}
    return {'type': name, 'data_root': place, **splits, **(options or {})}


def _of_config(
    path: str, cfg_options: Mapping[str, Any] | None
) -> tuple[SequenceDataset, dict[str, Any]]:
    cfg = load_config(path, dict(cfg_options or {}))
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if str(dataset.get('type', '')).rpartition('.')[2] != 'SequenceDataset':
        raise UserError(
            f'{path}: test_dataloader.dataset is {dataset.get("type")!r}, but results of trackers '
            "are judged by the sequences of a 'tracking.SequenceDataset'"
        )
    evaluators = cfg.get('test_evaluator') or []
    listed = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    known = ('OnePassEvaluation', 'GOT10kMetric')
    found = [e for e in listed if str(e.get('type')).rpartition('.')[2] in known]
    with user_errors():
        return DATASETS.build(dataset), dict(found[0]) if found else {}


@dataclass(eq=False)
class TrackerResults:
    """What a tracker left of some sequences."""

    name: str
    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)  # several if it was run repeatedly
    boxes: dict[str, list[np.ndarray]] = field(default_factory=dict)  # what they hold, [N, 4] each
    problems: dict[str, str] = field(default_factory=dict)  # why a sequence cannot be used

    def speed(self) -> float | None:
        """Return frames a second over all frames but the first ones; None without times."""
        times = [results.read_seconds(files[0], name) for name, files in self.files.items()]
        spent = [seconds[1:] for seconds in times if seconds is not None]
        total = float(sum(seconds.sum() for seconds in spent))
        return sum(map(len, spent)) / total if total > 0 else None


def find_trackers(given: Sequence[str]) -> dict[str, Path]:
    """Read arguments 'FOLDER' or 'NAME=FOLDER'; return folders of results by tracker."""
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
    name: str, folder: Path, truths: Sequence[Truth], protocol: Protocol, repetitions: bool = False
) -> TrackerResults:
    """Read the result files of a tracker; missing, damaged and short ones become problems."""
    found = TrackerResults(name, folder)
    files = {truth.name: results.find_result(folder, truth.name) for truth in truths}
    if not any(files.values()):
        inner = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        hint = f' It has the folders {", ".join(inner[:_SHOWN])}.' if inner else ''
        raise UserError(
            f'{folder}: has no result of any of the {len(truths)} sequences, e.g. '
            f'{truths[0].name}.txt.{hint} Give the folder that holds the files of one tracker.'
        )
    results.check_names(
        [n for n, file in files.items() if file == results.result_path(folder, n)], anywhere=False
    )
    for truth in truths:
        file = files[truth.name]
        if file is None:
            found.problems[truth.name] = f'{folder / truth.name}.txt is missing'
            continue
        paths = [file]  # or all files <sequence>_001.txt, _002.txt, ... of GOT-10k's layout
        if repetitions and file != results.result_path(folder, truth.name):
            pattern = re.compile(rf'{re.escape(file.parent.name)}_\d+\.txt')
            paths = sorted(path for path in file.parent.iterdir() if pattern.fullmatch(path.name))
        try:
            due = len(truth.boxes)
            boxes = [results.read_result(path, protocol.invalid == 'error', due) for path in paths]
        except results.ResultError as error:
            found.problems[truth.name] = str(error)
            continue
        for path, entry in zip(paths, boxes, strict=True):
            if len(entry) < due and protocol.shorter == 'error':
                found.problems[truth.name] = f'{path} has {len(entry)} boxes for {due} frames'
        found.files[truth.name], found.boxes[truth.name] = paths, boxes
    return found


def common_sequences(
    trackers: Sequence[TrackerResults], truths: Sequence[Truth], allow_missing: bool = False
) -> list[Truth]:
    """Return the sequences that all trackers have whole; an error names what is missing."""
    problems = [f'{one.name}: {problem}' for one in trackers for problem in one.problems.values()]
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
