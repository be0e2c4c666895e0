"""What the runs of a suite left behind, as one plain object that is written and read as JSON."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ValidationError

from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import sha256
from lightvit_dense.visualization.curves import find_scalars, read_scalars, series

from .plan import METRICS, SuitePlan
from .spec import Metric
from .stages import Stage, StageRecord, forget, is_done, read_record, tail_lines

MEASURED, NOT_RUN, FAILED, RUNNING = 'measured', 'not run', 'failed', 'running'
ERROR_LINES = 12


class Run(BaseModel):
    """A pre-training, a cell of the table (its training and test), or an analysis."""

    kind: Literal['pretrain', 'cell', 'analysis']
    name: str
    title: str
    state: str = NOT_RUN
    error: str | None = None  # of a failed run: the last lines of its log
    config: str | None = None
    config_hash: str | None = None  # of the config with its overrides
    commands: list[str] = []
    folder: str = ''  # below the repository
    seconds: float | None = None
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    init: str = ''  # of a cell, as are the next ones
    task: str = ''
    seed: int | None = None
    test_folder: str = ''
    metrics: dict[str, float] = {}  # raw, without the tables' scale
    source: str | None = None  # of a figure from elsewhere
    tool: str = ''  # of an analysis, as are the next ones
    models: list[str] = []
    files: list[str] = []


class Summary(BaseModel):
    """Mean and deviation, in the table's unit, of seeds whose single figures were not kept."""

    init: str
    task: str
    metric: str
    mean: float
    std: float | None = None
    seeds: int


class NamedInit(BaseModel):
    """An initialisation as a table shows it."""

    name: str
    title: str
    pretrain: str | dict[str, str] | None = None


class NamedTask(BaseModel):
    """A task as a table shows it."""

    name: str
    title: str
    metrics: list[Metric]


class Results(BaseModel):
    """Everything that is known of a suite's runs."""

    name: str
    title: str
    text: str = ''  # the suite file's docstring
    file: str = ''
    sha256: str = ''  # of the suite file
    label: str = MEASURED
    smoke: bool = False
    seeds: list[int] = []
    inits: list[NamedInit]
    tasks: list[NamedTask]
    runs: list[Run] = []
    summaries: list[Summary] = []
    paper: list[dict[str, Any]] = []  # published figures beside ours
    findings: list[dict[str, Any]] = []  # judged
    notes: list[str] = []  # what a reader must know of the figures
    environment: dict[str, Any] = {}
    started: str | None = None
    finished: str | None = None

    @property
    def cells(self) -> list[Run]:
        """The runs that figures of the table come from."""
        return [run for run in self.runs if run.kind == 'cell']

    def title_of(self, model: str) -> str:
        """Return the title of an initialisation or pre-training."""
        titles = {run.name: run.title for run in self.runs if run.kind == 'pretrain'}
        return (titles | {init.name: init.title for init in self.inits}).get(model, model)


def read_results(path: str | Path) -> Results:
    """Read the results that a suite wrote.

    Raises:
        UserError: If the file is missing, half-written or something else.
    """
    try:
        return Results.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f'there is no {path} to read ({error.strerror}); run the suite') from error
    except ValidationError as error:
        raise UserError(
            f'{path} is half-written, or no results of a suite; write it anew with '
            'tools/run_benchmark.py --report-only'
        ) from error


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
    try:
        return psutil.Process(record.pid).create_time() == record.started
    except psutil.Error:
        return False


def collect(plan: SuitePlan, environment: Mapping[str, Any]) -> Results:
    """Gather everything that is known of a suite's runs.

    Args:
        plan: The suite's plan.
        environment: From :func:`lightvit_dense.utils.environment.environment`.
    """
    suite = plan.suite
    runs = [
        _run(plan, plan.pretrain_stage(p.name), kind='pretrain', name=p.name, config=p.config)
        for p in suite.pretrains.values()
    ]
    runs += [_cell(plan, cell) for cell in plan.cells]
    for entry in suite.measured:
        name = f'{entry["task"]}_{entry["init"]}_seed-{entry["seed"]}'
        runs.append(Run(kind='cell', name=name, title=name, state=MEASURED, **entry))
    for analysis in suite.analyses.values():
        stage = plan.stages[f'analysis_{analysis.name}']
        known = dict(name=analysis.name, tool=analysis.tool, models=list(analysis.models))
        run = _run(plan, stage, kind='analysis', **known)
        paths = sorted(stage.work_dir.glob('*')) if run.state == MEASURED else []
        names = [p.name for p in paths if p.suffix in ('.json', '.npz', '.png')]
        runs.append(run.model_copy(update={'files': [n for n in names if n != 'stage.json']}))
    return Results(
        name=suite.name,
        title=suite.title,
        text=suite.text,
        file=_relative(suite.path, plan.root),
        sha256=sha256(suite.path),
        smoke=plan.smoke,
        seeds=list(suite.seeds),
        inits=[dict(name=i.name, title=i.title, pretrain=i.pretrain) for i in suite.inits.values()],
        tasks=[
            dict(name=t.name, title=t.title, metrics=list(t.metrics)) for t in suite.tasks.values()
        ],
        runs=runs,
        environment=dict(environment),
    )


def _cell(plan: SuitePlan, cell: Any) -> Run:
    train, task = plan.stages[cell.train], cell.task
    keys = [metric.key for metric in task.metrics]
    run = _run(plan, train, kind='cell', name=cell.train, config=cell.config)
    run.init, run.task, run.seed = cell.init.name, task.name, cell.seed
    if run.state == NOT_RUN:
        for need in cell.needs:
            if state_of(plan.stages[need])[0] == FAILED:
                run.error = f'it needs {need}, which failed'
    if run.state != MEASURED:
        return run
    if cell.test is None:
        scalars = last_scalars(train.work_dir, keys)
        run.metrics = {key: scalars[key] for key in keys if key in scalars}
    else:
        test = _run(plan, plan.stages[cell.test], kind='cell', name=cell.test)
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


def _run(plan: SuitePlan, stage: Stage, **known: Any) -> Run:
    state, error = state_of(stage)
    record = read_record(stage) or StageRecord(stage.key)
    command = shlex.join(['python', *map(str, stage.command[1:])])
    return Run(
        title=stage.title,
        state=state,
        error=error,
        config_hash=plan.keys[stage.name],
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
