"""Passes over many models, each model in a process of its own; resumable."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from .classification_models import speed_model
from .inference_speed import SpeedSettings, measure_model


def read_cells(file: Path, start: int = 0) -> dict[str, Any]:
    """Read what is known of a model in a pass: one cell a line, of two the later counts.

    Args:
        file: The file; it need not exist.
        start: Byte to begin at.
    """
    cells: dict[str, Any] = {}
    text = file.read_bytes()[start:].decode('utf-8', 'replace') if file.is_file() else ''
    for line in text.splitlines():
        try:
            name, cell = json.loads(line)
        except ValueError:  # cut short when the run was killed
            continue
        cells[name] = cell
    return cells


def append_cell(file: Path, name: str, cell: Mapping[str, Any]) -> None:
    """Add a cell to a model's file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('a', encoding='utf-8') as stream:
        # A line that was cut short before must not swallow this one.
        stream.write('\n' + json.dumps([name, cell]) + '\n')


def work(file: str) -> None:
    """Measure one model, as told on standard input; the cells go to the end of ``file``."""
    order = json.load(sys.stdin)
    measure_model(
        speed_model(order['model']),
        tuple(order['modes']),
        SpeedSettings(**order['settings']),
        lambda name, cell: append_cell(Path(file), name, cell),
    )


@dataclass(frozen=True)
class SpeedPasses:
    """Measurements of many models, kept in a folder.

    Odd passes go forwards and even ones backwards through the models, so that slow drift of the
    machine hits all alike. The throughput batch of the first pass is that of all.

    Attributes:
        folder: Where results are kept.
        models: Names for :func:`~lightvit_dense.analysis.classification_models.speed_model`.
        modes: What to measure, some of ``MODES``.
        settings: How to measure.
        worker: Command that calls :func:`work` with the file that follows it.
        timeout: Seconds for a model in a pass.
    """

    folder: Path
    models: tuple[str, ...]
    modes: tuple[str, ...]
    settings: SpeedSettings
    worker: tuple[str, ...]
    timeout: float = 1200.0

    @property
    def log(self) -> Path:
        """File with everything that the workers print."""
        return self.folder / 'log.txt'

    def open(self, resume: bool) -> None:
        """Make the folder, or check that what it holds can be gone on with.

        Raises:
            UserError: If it holds results and ``resume`` is not set, or of other settings.
        """
        file, wanted = self.folder / 'settings.json', asdict(self.settings)
        if file.is_file():
            if not resume:
                raise UserError(
                    f'{self.folder} holds results already: go on with them by --resume, '
                    'or name another folder by --out'
                )
            known = json.loads(file.read_text(encoding='utf-8'))
            other = [name for name, value in wanted.items() if known.get(name) != value]
            if other:
                words = ', '.join(f'{name} was {known.get(name)}' for name in other)
                raise UserError(
                    f'{self.folder} was measured otherwise ({words}): '
                    'give the same options, or name another folder by --out'
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(wanted, indent=2) + '\n', encoding='utf-8')

    def _file(self, number: int, model: str) -> Path:
        safe = re.sub(r'[^\w.-]+', '_', model)
        return self.folder / 'passes' / str(number) / f'{safe}.jsonl'

    def cells(self, number: int, model: str) -> dict[str, Any]:
        """Return the cells of a model in a pass (from 1): its size and the modes."""
        found = read_cells(self._file(number, model))
        return {name: cell for name, cell in found.items() if name in ('size', *self.modes)}

    def missing(self, number: int, model: str) -> list[str]:
        """Return the modes of a model in a pass that have no result yet, or an error."""
        cells = self.cells(number, model)
        if 'error' in cells.get('size', {}):
            return list(self.modes)
        return [mode for mode in self.modes if 'error' in cells.get(mode, {'error': 'missing'})]

    def _work(self, file: Path, order: Mapping[str, Any]) -> int | None:
        """Run one worker; returns its exit status, None if it took too long."""
        environment = dict(os.environ)
        if self.settings.threads:
            environment['OMP_NUM_THREADS'] = str(self.settings.threads)
        with self.log.open('a', encoding='utf-8') as stream:
            stream.write(f'--- {file.relative_to(self.folder)}: {json.dumps(order)}\n')
            stream.flush()
            try:
                return subprocess.run(
                    [*self.worker, str(file)],
                    input=json.dumps(order),
                    text=True,
                    stdout=stream,
                    stderr=stream,
                    env=environment,
                    timeout=self.timeout,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return None

    def measure(self, number: int, model: str, modes: Sequence[str]) -> None:
        """Measure modes of a model in a process of its own.

        Whatever becomes of the process, each mode and the size have a cell
        afterwards. A process that the system
        kills over its throughput batch, as it does when memory runs out, is started again with
        half of the batch.
        """
        file, left = self._file(number, model), list(modes)
        file.parent.mkdir(parents=True, exist_ok=True)
        batch = self.cells(1, model).get('throughput', {}).get('batch', self.settings.batch)
        while True:
            known = len(file.read_bytes()) if file.is_file() else 0
            settings = asdict(replace(self.settings, batch=batch))
            status = self._work(file, {'model': model, 'modes': left, 'settings': settings})
            fresh = read_cells(file, known)
            left = [mode for mode in left if mode not in fresh]
            if status == -signal.SIGKILL and 'throughput' in left and batch > 1:
                batch //= 2
                continue
            break
        why = f'the process ended with status {status}'
        if status is None:
            why = f'not done after {self.timeout:g} s, see --timeout'
        elif status == -signal.SIGKILL:
            why += ', killed: most likely for lack of memory'
        if 'size' not in read_cells(file):
            left.append('size')
        for mode in left:
            append_cell(file, mode, {'error': f'{why}; see {self.log}'})

    def run(
        self, passes: int, minutes: float | None, tell: Callable[[int, str], None]
    ) -> tuple[int, ...]:
        """Measure what is missing.

        Args:
            passes: How many.
            minutes: No pass after the first begins if it would end later than this.
            tell: Called with pass and model when a model is done.

        Returns:
            The passes that were left out for lack of time.
        """
        start, last = time.monotonic(), 0.0
        for number in range(1, passes + 1):
            began = time.monotonic()
            if number > 1 and minutes and began - start + last > 60 * minutes:
                return tuple(range(number, passes + 1))
            compiling = 0.0
            for model in self.models[:: 1 if number % 2 else -1]:
                modes = self.missing(number, model)
                if modes:
                    self.measure(number, model, modes)
                    cell = self.cells(number, model).get('compiled', {})
                    compiling += cell.get('compile_s', 0.0) if 'compiled' in modes else 0.0
                tell(number, model)
            # Later passes find most of the compiled code in torch's cache.
            last = time.monotonic() - began - 0.6 * compiling
        return ()
