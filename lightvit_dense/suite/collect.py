"""Gather what the runs of a suite left behind."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import sha256
from lightvit_dense.utils.logs import find_scalars, read_scalars, series

from .plan import METRICS, SuitePlan
from .results import FAILED, MEASURED, NOT_RUN, RUNNING, NamedInit, NamedTask, Results, Run
from .stages import Stage, StageRecord, forget, is_done, is_running, read_record, tail_lines

ERROR_LINES = 12


def read_metrics(path: Path) -> dict[str, float] | None:
    """Return the metrics of a test's JSON file; None if it is half-written or no such file."""
    try:
        metrics = json.loads(path.read_text(encoding='utf-8'))['metrics']
        return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def last_scalars(work_dir: Path, keys: Sequence[str]) -> dict[str, float]:
    """Return the last value of each metric that a training logged, and its peak of GPU memory."""
    try:
        scalars = read_scalars(find_scalars(work_dir))
    except (UserError, OSError, ValueError):
        return {}
    found = {key: values[-1] for key in keys if (values := series(scalars, key).values)}
    return found | {'memory': max(series(scalars, 'memory').values, default=0.0)}


def forget_unreadable(plan: SuitePlan) -> list[str]:
    """Forget tests whose results are half-written or foreign, to run again; return their names."""
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
        return (RUNNING if is_running(record) else NOT_RUN), None
    return (FAILED, tail_lines(stage.log, ERROR_LINES)) if record.attempts else (NOT_RUN, None)


def collect(plan: SuitePlan, environment: Mapping[str, Any]) -> Results:
    """Gather everything that is known of a suite's runs, made on the given machine."""
    suite = plan.suite
    runs = [_run(plan, f'prepare_{name}', kind='prepare', name=name) for name in suite.prepare]
    for name, pretrain in suite.pretrains.items():
        known = dict(kind='pretrain', name=name, config=pretrain.config)
        runs.append(_run(plan, f'pretrain_{name}', **known))
    runs += [_cell(plan, cell) for cell in plan.cells]
    for analysis in suite.analyses.values():
        about = dict(name=analysis.name, tool=analysis.tool)
        models = list(analysis.models)
        run = _run(plan, f'analysis_{analysis.name}', kind='analysis', models=models, **about)
        if run.state == MEASURED:
            paths = sorted(plan.stages[f'analysis_{analysis.name}'].work_dir.glob('*'))
            names = [path.name for path in paths if path.suffix in ('.json', '.npz', '.png')]
            run.files = [name for name in names if name != 'stage.json']
        runs.append(run)
    return Results(
        name=suite.name,
        title=suite.title,
        text=suite.text,
        file=_relative(suite.path, plan.root),
        sha256=sha256(suite.path),
        smoke=plan.smoke,
        seeds=list(suite.seeds),
        sweep=suite.sweep.title if suite.sweep else '',
        inits=[NamedInit.model_validate(i, from_attributes=True) for i in suite.inits.values()],
        tasks=[NamedTask.model_validate(t, from_attributes=True) for t in suite.tasks.values()],
        runs=runs,
        environment=dict(environment),
    )


def _cell(plan: SuitePlan, cell: Any) -> Run:
    train, task = plan.stages[cell.train], cell.task
    keys = [metric.key for metric in task.metrics]
    about = dict(name=cell.train, config=cell.config, init=cell.init.name, task=task.name)
    run = _run(plan, cell.train, kind='cell', seed=cell.seed, **about)
    if run.state == NOT_RUN:
        for need in train.after:
            if state_of(plan.stages[need])[0] == FAILED:
                run.error = f'it needs {need}, which failed'
    if run.state != MEASURED:
        return run
    if cell.test is None:
        scalars = last_scalars(train.work_dir, keys)
        run.metrics = {key: scalars[key] for key in keys if key in scalars}
    else:
        test = _run(plan, cell.test, kind='cell', name=cell.test)
        run.state, run.error, run.test_folder = test.state, test.error, test.folder
        run.commands += test.commands
        run.seconds = (run.seconds or 0) + (test.seconds or 0)
        run.metrics = read_metrics(plan.stages[cell.test].work_dir / METRICS) or {}
    missing = [key for key in keys if key not in run.metrics]
    if run.state == MEASURED and missing:
        known = ', '.join(sorted(run.metrics)) or 'none'
        run.state = FAILED
        run.error = (
            f'the run reports no {", ".join(missing)}; it reports {known}. Correct '
            f'tasks.{task.name}.metrics, or let the config validate in the end.'
        )
    return run


def _run(plan: SuitePlan, name_of_stage: str, **known: Any) -> Run:
    stage = plan.stages[name_of_stage]
    state, error = state_of(stage)
    record = read_record(stage) or StageRecord(stage.key)
    command = shlex.join(['python', *map(str, stage.command[1:])])
    return Run(
        title=stage.title,
        state=state,
        error=error,
        config_hash=stage.key,
        seconds=record.seconds,
        peak_memory_mb=record.peak_memory_mb,
        peak_gpu_memory_mb=last_scalars(stage.work_dir, ()).get('memory') or None,
        folder=_relative(stage.work_dir, plan.root),
        commands=[command.replace(f'{plan.root.resolve()}/', '')],
        **known,
    )


def _relative(path: Path, root: Path) -> str:
    path, root = path.resolve(), root.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
