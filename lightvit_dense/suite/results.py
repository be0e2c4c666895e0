"""What the runs of a suite left behind, as plain data for tables, findings and the report."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.suite.stages import (
    Stage,
    StageRecord,
    forget,
    is_done,
    read_record,
    tail_lines,
)
from lightvit_dense.utils.logs import find_scalars, read_scalars, series

from .plan import METRICS, Cell, SuitePlan

MEASURED, NOT_RUN, FAILED, RUNNING = 'measured', 'not run', 'failed', 'running'
ERROR_LINES = 12


def read_metrics(path: Path) -> dict[str, float] | None:
    """Return the metrics of a test's JSON file; None if it is half-written or no such file."""
    try:
        metrics = json.loads(path.read_text(encoding='utf-8'))['metrics']
        return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def last_metrics(work_dir: Path, keys: list[str]) -> dict[str, float]:
    """Return the last value of each metric that a training logged; those it did not are absent."""
    try:
        scalars = read_scalars(find_scalars(work_dir))
    except (UserError, OSError, ValueError):
        return {}
    found = {key: series(scalars, key).values for key in keys}
    return {key: values[-1] for key, values in found.items() if values}


def metrics_of(plan: SuitePlan, cell: Cell) -> dict[str, float]:
    """Return the metrics of a cell whose runs are done; those it lacks are absent."""
    if cell.test is not None:
        return read_metrics(plan.stages[cell.test].work_dir / METRICS) or {}
    keys = [metric.key for metric in cell.task.metrics]
    return last_metrics(plan.stages[cell.train].work_dir, keys)


def forget_unreadable(plan: SuitePlan) -> list[str]:
    """Forget tests whose results are half-written or foreign, so that they run again.

    Returns:
        Their names.
    """
    found = []
    for cell in plan.cells:
        stage = plan.stages[cell.test] if cell.test else None
        if stage and is_done(stage) and read_metrics(stage.work_dir / METRICS) is None:
            forget(stage)
            found.append(stage.name)
    return found


def state_of(stage: Stage) -> tuple[str, str | None]:
    """Return the state of a stage and, if it failed, the last lines of its log."""
    record = read_record(stage)
    if record is None or record.key != stage.key:
        return NOT_RUN, None
    if is_done(stage):
        return MEASURED, None
    if record.pid is not None:
        return (RUNNING if _is_alive(record) else NOT_RUN), None
    return (FAILED, tail_lines(stage.log, ERROR_LINES)) if record.attempts else (NOT_RUN, None)


def _is_alive(record: StageRecord) -> bool:
    import psutil

    try:
        return psutil.Process(record.pid).create_time() == record.started
    except psutil.Error:
        return False


def collect(plan: SuitePlan, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Gather everything that is known of a suite's runs.

    Args:
        plan: The suite's plan.
        environment: From :func:`lightvit_dense.utils.environment.environment`.

    Returns:
        JSON-able data: 'suite', 'seeds', 'inits', 'tasks', 'cells', 'pretrains', 'analyses',
        'paper', 'findings', 'environment'. Metrics are raw; tables apply the scale.
    """
    suite = plan.suite
    digest = hashlib.sha256(suite.path.read_bytes()).hexdigest()
    cells = [_cell(plan, cell) for cell in plan.cells]
    cells += [
        dict(state=MEASURED, error=None, config=None, config_hash=None, seconds=None, **entry)
        for entry in suite.measured
    ]
    return {
        'suite': {
            'name': suite.name,
            'title': suite.title,
            'text': suite.text,
            'file': _relative(suite.path, plan.root),
            'sha256': digest,
        },
        'smoke': plan.smoke,
        'seeds': list(suite.seeds),
        'inits': [
            {key: getattr(init, key) for key in ('name', 'title', 'pretrain', 'checkpoint')}
            for init in suite.inits.values()
        ],
        'tasks': [
            {'name': t.name, 'title': t.title, 'metrics': [asdict(m) for m in t.metrics]}
            for t in suite.tasks.values()
        ],
        'cells': cells,
        'pretrains': [
            {'name': p.name, **_run(plan, plan.pretrain_stage(p.name), p.config)}
            for p in suite.pretrains.values()
        ],
        'analyses': [_analysis(plan, name) for name in suite.analyses],
        'paper_spec': dict(suite.paper),
        'environment': dict(environment),
    }


def _cell(plan: SuitePlan, cell: Cell) -> dict[str, Any]:
    train = plan.stages[cell.train]
    entry = _run(plan, train, cell.config)
    entry |= {'init': cell.init.name, 'task': cell.task.name, 'seed': cell.seed, 'metrics': {}}
    if entry['state'] == NOT_RUN:
        for need in cell.needs:
            if state_of(plan.stages[need])[0] == FAILED:
                entry['error'] = f'it needs {need}, which failed'
    if entry['state'] == MEASURED and cell.test is not None:
        test = plan.stages[cell.test]
        entry['state'], entry['error'] = state_of(test)
        record = read_record(test)
        if record is not None:
            entry['seconds'] += record.seconds
            entry['test_command'] = _shown(record.command or test.command)
    if entry['state'] == MEASURED:
        entry['metrics'] = metrics_of(plan, cell)
        missing = [m.key for m in cell.task.metrics if m.key not in entry['metrics']]
        if missing:
            known = ', '.join(sorted(entry['metrics'])) or 'none'
            entry |= dict(
                state=FAILED,
                error=f'the run reports no {", ".join(missing)}; it reports {known}. Correct '
                f'tasks.{cell.task.name}.metrics, or let the config validate in the end.',
            )
    return entry


def _run(plan: SuitePlan, stage: Stage, config: str) -> dict[str, Any]:
    state, error = state_of(stage)
    record = read_record(stage) or StageRecord(stage.key)
    return {
        'title': stage.title,
        'state': state,
        'error': error,
        'config': config,
        'config_hash': plan.keys[stage.name],
        'seconds': record.seconds,
        'peak_memory_mb': record.peak_memory_mb,
        'work_dir': _relative(stage.work_dir, plan.root),
        'command': _shown(stage.command),
    }


def _analysis(plan: SuitePlan, name: str) -> dict[str, Any]:
    analysis = plan.suite.analyses[name]
    stage = plan.stages[f'analysis_{name}']
    state, error = state_of(stage)
    record = read_record(stage)
    files = [p for p in sorted(stage.work_dir.glob('*')) if p.suffix in ('.json', '.npz', '.png')]
    return {
        'name': name,
        'title': analysis.title,
        'tool': analysis.tool,
        'models': list(analysis.models),
        'state': state,
        'error': error,
        'folder': _relative(stage.work_dir, plan.root),
        'files': [p.name for p in files if p.name != 'stage.json'] if state == MEASURED else [],
        'command': _shown(stage.command),
        'seconds': record.seconds if record else None,
    }


def _shown(command: Any) -> str:
    """Return a command as one types it."""
    import shlex

    return shlex.join(['python', *map(str, command[1:])])


def _relative(path: Path, root: Path) -> str:
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
