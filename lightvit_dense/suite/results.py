"""What the runs of a suite left behind, as one plain object that is written and read as JSON."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from lightvit_dense.errors import UserError

MEASURED, NOT_RUN, FAILED, RUNNING = 'measured', 'not run', 'failed', 'running'


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class Metric:
    """A figure of a task."""

    key: str  # its name in the results, such as ``coco/bbox_mAP``
    title: str
    scale: float = 1.0  # what the raw figure is multiplied by for tables
    digits: int = 1


class Run(BaseModel):
    """A tool that makes data, a pre-training, a cell of the table, or an analysis."""

    kind: Literal['prepare', 'pretrain', 'cell', 'analysis']
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
    series: str = ''  # of a sweep
    value: Any = None  # of the sweep


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
    sweep: str = ''  # what the values of a sweep are
    inits: list[NamedInit]
    tasks: list[NamedTask]
    runs: list[Run] = []
    summaries: list[Summary] = []
    paper: list[dict[str, Any]] = []  # published figures beside ours
    findings: list[dict[str, Any]] = []  # judged
    notes: list[str] = []  # what a reader must know of the figures
    environment: dict[str, Any] = {}
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
    """Read the results that a suite wrote; a UserError if they are missing or half-written."""
    try:
        return Results.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f'there is no {path} to read ({error.strerror}); run the suite') from error
    except ValidationError as error:
        raise UserError(
            f'{path} is half-written, or no results of a suite; write it anew with '
            'tools/run_benchmark.py --report-only'
        ) from error
