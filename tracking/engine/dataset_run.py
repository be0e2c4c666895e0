"""A tracker over all sequences of a config's test, in one process or several; can be resumed."""

import hashlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from lightvit_dense.errors import UserError, user_errors
from lightvit_dense.utils.io import sha256, write_json
from lightvit_dense.utils.worker_pool import serve_all

from ..datasets.whole import SequenceDataset
from ..registry import DATASETS
from ..runtime import Tracker
from ..runtime.results import check_names, is_complete, read_seconds, result_path, write_result
from .sequence_loop import track_sequence

SETTINGS = 'settings.json'
# Where the data lie, and which part of it is run, does not change the result of a sequence.
_NO_MATTER = ('data_root', 'cache_dir', 'source', 'names', 'limit')


@dataclass(frozen=True)
class DatasetRun:
    """What to run; pickles."""

    config: Config  # its test data set must be a SequenceDataset
    checkpoint: str
    folder: Path  # receives the result files and settings.json
    layout: str = 'lasot'
    backend: str = 'torch'
    exported: str | None = None  # file for the backend 'exported'
    device: str | None = None  # 'cuda' deals the processes out among all GPUs
    threads: int | None = None  # of each process; by default 1 of several processes
    lost_below: float | None = None  # score below which a target counts as lost

    def tracker(self, device: str | None) -> Tracker:
        """Build the tracker on a device."""
        options = (device, self.backend, self.threads, self.exported)
        return Tracker(self.config, self.checkpoint, *options)


@dataclass(frozen=True)
class Outcome:
    """What became of a sequence."""

    name: str
    frames: int = 0  # 0 if the length could not be found out
    seconds: float = 0.0  # what the tracker took
    error: str = ''  # why there is no result
    kept: bool = False  # whether the result was there before


def build_sequences(config: Config) -> SequenceDataset:
    """Build the sequences of a config's test; an error says if it tests something else."""
    dataset = (config.get('test_dataloader') or {}).get('dataset')
    name = config.filename or 'the config'
    if dataset is None:
        raise UserError(f'{name} has no test_dataloader.dataset: there is nothing to track')
    with user_errors(config):
        built = DATASETS.build(dataset)
    if not isinstance(built, SequenceDataset):
        raise UserError(
            f'{name}: test_dataloader.dataset is a {type(built).__name__}; whole sequences come '
            'from a tracking.SequenceDataset'
        )
    return built


class _Runner:
    """A tracker and its sequences, in the process that uses them."""

    def __init__(self, run: DatasetRun, number: int = 0) -> None:
        imports = run.config.get('custom_imports')
        if imports:
            import_modules_from_strings(**imports)
        if run.threads is not None:
            torch.set_num_threads(run.threads)
            cv2.setNumThreads(run.threads)
        device = run.device
        if device == 'cuda' and torch.cuda.is_available():
            device = f'cuda:{number % torch.cuda.device_count()}'
        self.run, self.sequences = run, build_sequences(run.config)
        self.tracker = run.tracker(device)

    def __call__(self, index: int) -> Outcome:
        """Track a sequence and write its result."""
        name, run = self.sequences.names[index], self.run
        try:
            boxes, scores, seconds = track_sequence(self.tracker, self.sequences.sequence(index))
            more = (seconds, run.layout, scores, run.lost_below)
            write_result(run.folder, name, boxes, *more)
        except UserError as error:
            return Outcome(name, error=str(error))
        except Exception:  # a sequence that breaks a library must not stop the others
            return Outcome(name, error=traceback.format_exc())
        return Outcome(name, len(boxes), float(seconds.sum()))


def run_dataset(
    run: DatasetRun,
    processes: int = 1,
    on_progress: Callable[[Outcome, int, int], object] = lambda *_: None,
) -> list[Outcome]:
    """Track sequences without a whole result; tell ``on_progress`` outcome, frames done, all."""
    if not Path(run.checkpoint).is_file():
        raise UserError(f'checkpoint {run.checkpoint} does not exist')
    sequences = build_sequences(run.config)
    check_names(sequences.all_names, run.layout)
    claim_folder(run)
    outcomes: dict[str, Outcome] = {}
    todo: dict[int, int] = {}
    for index, name in enumerate(sequences.names):
        try:
            sequence = sequences.sequence(index)
            length = len(sequence)
        except UserError as error:
            outcomes[name] = Outcome(name, error=str(error))
            continue
        path = result_path(run.folder, name, run.layout)
        if is_complete(path, length, sequence.boxes[0]):
            seconds = read_seconds(path, name)
            spent = 0.0 if seconds is None else float(np.sum(seconds))
            outcomes[name] = Outcome(name, length, spent, kept=True)
        else:
            todo[index] = length
    done = sum(outcome.frames for outcome in outcomes.values())
    total = done + sum(todo.values())
    for outcome in outcomes.values():
        on_progress(outcome, done, total)
    # The longest first: at the end no process has much left to do alone.
    order = sorted(todo, key=lambda index: -todo[index])
    for index, outcome in _run_all(run, order, min(processes, len(order)), sequences):
        done += todo[index]
        outcomes[outcome.name] = outcome
        on_progress(outcome, done, total)
    return [outcomes[name] for name in sequences.names]


def _run_all(
    run: DatasetRun, order: list[int], processes: int, sequences: SequenceDataset
) -> Iterator[tuple[int, Outcome]]:
    if not order:
        return
    if processes <= 1:
        runner = _Runner(run)
        yield from ((index, runner(index)) for index in order)
        return
    run = replace(run, threads=run.threads or 1)
    run.tracker(run.device)  # whatever is wrong with config or checkpoint is told here, once
    for index, outcome, death in serve_all(_Runner, run, order, processes):
        yield index, outcome or Outcome(sequences.names[index], error=death)


def claim_folder(run: DatasetRun) -> None:
    """Note the settings beside the results, or compare them with those noted before."""
    path = Path(run.folder) / SETTINGS
    # What the results depend on.
    facts = dict(
        model=_hash(run.config.model),
        dataset=_hash(_essence(run.config.test_dataloader.dataset)),
        checkpoint=sha256(run.checkpoint),
        backend=run.backend,
        layout=run.layout,
        lost_below=run.lost_below,
    )
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding='utf-8'))['settings']
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path} is damaged ({error}); delete {run.folder}') from error
        different = [name for name, value in facts.items() if before.get(name) != value]
        if different:
            raise UserError(
                f'{run.folder} holds results of another {" and ".join(different)}; take another '
                '--name or --out, or delete the folder'
            )
        return
    if any(Path(run.folder).glob('**/*.txt')):
        raise UserError(
            f'{run.folder} holds results, and no {SETTINGS} says of what; take another --name or '
            '--out, or delete the folder'
        )
    metadata = dict(
        config=str(run.config.filename),
        checkpoint=str(run.checkpoint),
        started=time.strftime('%Y-%m-%d %H:%M:%S'),
        torch=torch.__version__,
        opencv=cv2.__version__,
        device=run.device,
        threads=run.threads,
    )
    write_json(path, dict(settings=facts, started_with=metadata))


def _essence(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _essence(node[name]) for name in node if name not in _NO_MATTER}
    return [_essence(entry) for entry in node] if isinstance(node, (list, tuple)) else node


def _hash(node: Any) -> str:
    return hashlib.sha256(json.dumps(node, sort_keys=True, default=str).encode()).hexdigest()
