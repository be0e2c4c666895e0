"""What a suite file says, checked before anything runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from lightvit_dense.errors import UserError, did_you_mean

from .findings import check_findings
from .papers import check_paper

DEFAULT = 'default'
"""Stands for every initialisation, or every domain, that is not named."""
ANALYSES = ('cka', 'fourier', 'attention_stats', 'attention_agreement')
"""Tools of ``tools/analysis_tools`` that a suite can run."""
CHECKPOINT_KEY = 'model.backbone.init_cfg.checkpoint'


@dataclass(frozen=True)
class Metric:
    """A figure of a task.

    Attributes:
        key: Its name in the results, such as ``coco/bbox_mAP``.
        title: For tables.
        scale: What the raw figure is multiplied by for tables.
        digits: Digits after the point.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 1


@dataclass(frozen=True)
class Pretrain:
    """A pre-training whose backbone is used afterwards.

    Attributes:
        name: Short name.
        config: Its config.
        title: For tables; the name by default.
        options: Config values to override, by dotted key.
        needs: Dotted key of a checkpoint -> the pre-training that makes it.
        output: File of its folder that the others read.
    """

    name: str
    config: str
    title: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    output: str = 'backbone.safetensors'


@dataclass(frozen=True)
class Init:
    """What the tasks start from: random weights, a pre-training of the suite, or a checkpoint.

    Attributes:
        name: Short name.
        title: For tables; the name by default.
        pretrain: Name of the pre-training, or names by the tasks' domain; None for none.
        checkpoint: Path of a checkpoint, or paths by domain; None for none.
        tasks: Names of the tasks it takes part in; None for all.
    """

    name: str
    title: str = ''
    pretrain: str | Mapping[str, str] | None = None
    checkpoint: str | Mapping[str, str] | None = None
    tasks: Sequence[str] | None = None

    def pretrain_of(self, domain: str) -> str | None:
        """Return the pre-training for a domain."""
        return _choose(self.pretrain, domain)

    def checkpoint_of(self, domain: str) -> str | None:
        """Return the checkpoint for a domain."""
        return _choose(self.checkpoint, domain)

    def takes(self, task: str) -> bool:
        """Return whether a task is run from here."""
        return self.tasks is None or task in self.tasks


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        name: Short name.
        configs: Config by initialisation; ``default`` stands for those that are not named.
        metrics: Figures to report; the first one leads.
        title: For tables; the name by default.
        options: Config values to override, by dotted key.
        checkpoint_key: Dotted key that takes the initialisation's checkpoint.
        seeds: Seeds; the suite's by default.
        seed_keys: Dotted keys that take the seed.
        test: Whether to run ``tools/test.py`` afterwards; else the last validation counts.
        domain: What the images are, for initialisations that differ by it.
    """

    name: str
    configs: Mapping[str, str]
    metrics: Sequence[Metric]
    title: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_key: str = CHECKPOINT_KEY
    seeds: Sequence[int] | None = None
    seed_keys: Sequence[str] = ('randomness.seed',)
    test: bool = True
    domain: str = DEFAULT

    def config_of(self, init: str) -> str | None:
        """Return the config for an initialisation; None where the task has none."""
        return _choose(self.configs, init)


@dataclass(frozen=True)
class Analysis:
    """A look into one or two backbones.

    Attributes:
        name: Short name.
        tool: One of :data:`ANALYSES`.
        models: Names of initialisations or pre-trainings.
        images: Folder of images; ``$LIGHTVIT_DATA`` or ``data/`` goes in front if it is relative.
        options: Options of the tool by name.
        title: For the report; the name by default.
    """

    name: str
    tool: str
    models: Sequence[str]
    images: str
    options: Mapping[str, Any] = field(default_factory=dict)
    title: str = ''


@dataclass(frozen=True)
class Suite:
    """A whole suite file.

    Attributes:
        name: Short name; results go to ``work_dirs/suites/<name>``.
        title: For the report.
        seeds: Seeds of the tasks.
        pretrains: Pre-trainings by name, each after those it needs.
        inits: Initialisations by name.
        tasks: Tasks by name.
        analyses: Analyses by name.
        paper: What of the papers to show beside the results, see ``suite/papers.py``.
        findings: Statements to check, see ``suite/findings.py``.
        measured: Results from elsewhere: ``init, task, seed, metrics, source``.
        text: What the file's docstring says.
        path: The file.
    """

    name: str
    title: str
    seeds: Sequence[int]
    pretrains: Mapping[str, Pretrain]
    inits: Mapping[str, Init]
    tasks: Mapping[str, Task]
    analyses: Mapping[str, Analysis]
    paper: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Mapping[str, Any]] = ()
    measured: Sequence[Mapping[str, Any]] = ()
    text: str = ''
    path: Path = Path()

    def seeds_of(self, task: Task) -> Sequence[int]:
        """Return the seeds of a task."""
        return self.seeds if task.seeds is None else task.seeds

    def cells(self) -> list[tuple[Init, Task, int]]:
        """Return all cells, seed by seed, so that a run cut short has whole tables of few seeds."""
        seeds = sorted({seed for task in self.tasks.values() for seed in self.seeds_of(task)})
        return [
            (init, task, seed)
            for seed in seeds
            for task in self.tasks.values()
            for init in self.inits.values()
            if seed in self.seeds_of(task) and init.takes(task.name) and task.config_of(init.name)
        ]


def _choose(choices: str | Mapping[str, str] | None, key: str) -> str | None:
    if choices is None or isinstance(choices, str):
        return choices
    return choices.get(key, choices.get(DEFAULT))


T = TypeVar('T', Pretrain, Init, Task, Analysis)


def _entries(kind: type[T], values: Mapping[str, Any], where: str) -> dict[str, T]:
    """Build named entries from plain dicts.

    Raises:
        UserError: If one has an unknown key or lacks a needed one.
    """
    known = {f.name for f in fields(kind)} - {'name'}
    found: dict[str, T] = {}
    for name, value in values.items():
        if not isinstance(value, Mapping):
            raise UserError(f'{where}.{name} must be a dict, got {type(value).__name__}')
        for key in value:
            if key not in known:
                words = f'{where}.{name} has no {key!r}; there are {", ".join(sorted(known))}.'
                raise UserError(words + did_you_mean(key, known))
        content = dict(value)
        content['title'] = content.get('title') or name
        if 'metrics' in content:
            content['metrics'] = tuple(_metric(m, f'{where}.{name}') for m in content['metrics'])
        try:
            found[name] = kind(name=name, **content)
        except TypeError as error:
            missing = str(error).rpartition(': ')[2]
            raise UserError(f'{where}.{name} lacks {missing}') from error
    return found


def _metric(value: Mapping[str, Any], where: str) -> Metric:
    try:
        return Metric(**value)
    except TypeError as error:
        raise UserError(
            f'{where}.metrics: {value} is not dict(key, title, scale, digits)'
        ) from error


def _require(name: str, known: Iterable[str], where: str) -> None:
    known = list(known)
    if name not in known:
        words = f'{where} names {name!r}, which is unknown; there are {", ".join(known) or "none"}.'
        raise UserError(words + did_you_mean(name, known))


KEYS = ('name', 'title', 'seeds', 'pretrains', 'inits', 'tasks', 'analyses', 'paper', 'findings')
KEYS += ('measured',)


def read_suite(
    path: str | Path,
    root: str | Path = '.',
    inits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Suite:
    """Read and check a suite file.

    Args:
        path: A Python config.
        root: Folder that the paths in it are relative to.
        inits: Names of the initialisations to take; all by default.
        tasks: Names of the tasks to take; all by default.
        seeds: Seeds of all tasks instead of the file's.

    Raises:
        UserError: If the file is missing or wrong; names the place and what there is instead.
    """
    from mmengine.config import Config

    path = Path(path)
    if not path.is_file():
        known = sorted(other.name for other in path.parent.glob('*.py'))
        raise UserError(
            f'suite {path} does not exist; {path.parent} has {", ".join(known) or "no"}'
        )
    try:
        content = Config.fromfile(path).to_dict()
    except (SyntaxError, OSError, LookupError, NameError, TypeError, ValueError) as error:
        raise UserError(f'suite {path} cannot be read: {type(error).__name__}: {error}') from error
    for key in content:
        if key not in KEYS and not key.startswith('_'):  # a file may keep values of its own
            words = f'suite {path} has no {key!r}; there are {", ".join(KEYS)}.'
            raise UserError(words + did_you_mean(key, KEYS))
    for key in ('inits', 'tasks'):
        if not content.get(key):
            raise UserError(f'suite {path} has no {key}')
    suite = Suite(
        name=content.get('name') or path.stem,
        title=content.get('title') or content.get('name') or path.stem,
        seeds=tuple(content.get('seeds', (0,))),
        pretrains=_entries(Pretrain, content.get('pretrains', {}), 'pretrains'),
        inits=_entries(Init, content['inits'], 'inits'),
        tasks=_entries(Task, content['tasks'], 'tasks'),
        analyses=_entries(Analysis, content.get('analyses', {}), 'analyses'),
        paper=content.get('paper', {}),
        findings=tuple(content.get('findings', ())),
        measured=tuple(content.get('measured', ())),
        text=_docstring(path),
        path=path,
    )
    for names, known, option in ((inits, suite.inits, '--inits'), (tasks, suite.tasks, '--tasks')):
        for name in names or ():
            _require(name, known, option)
    check_suite(suite, Path(root), inits)
    return _select(suite, inits, tasks, seeds)


def _select(
    suite: Suite,
    inits: Sequence[str] | None,
    tasks: Sequence[str] | None,
    seeds: Sequence[int] | None,
) -> Suite:
    """Return a part of a suite; pre-trainings that nothing needs any more are left out."""
    kept = {n: i for n, i in suite.inits.items() if inits is None or n in inits}
    chosen = {n: t for n, t in suite.tasks.items() if tasks is None or n in tasks}
    if seeds is not None:
        chosen = {n: replace(t, seeds=tuple(seeds)) for n, t in chosen.items()}
    there = set(kept) | (set(suite.pretrains) - (set(suite.inits) - set(kept)))
    analyses = {n: a for n, a in suite.analyses.items() if set(a.models) <= there}
    needed = {model for a in analyses.values() for model in a.models}
    needed |= {name for init in kept.values() for name in _values(init.pretrain)}
    for pretrain in reversed(suite.pretrains.values()):
        if pretrain.name in needed:
            needed |= set(pretrain.needs.values())
    return replace(
        suite,
        seeds=suite.seeds if seeds is None else tuple(seeds),
        inits=kept,
        tasks=chosen,
        analyses=analyses,
        pretrains={n: p for n, p in suite.pretrains.items() if n in needed},
        measured=tuple(m for m in suite.measured if m['init'] in kept and m['task'] in chosen),
    )


def _docstring(path: Path) -> str:
    import ast

    return ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''


def check_suite(suite: Suite, root: Path, inits: Sequence[str] | None = None) -> None:
    """Check that everything a suite names is there.

    Args:
        suite: The whole suite.
        root: Folder that its paths are relative to.
        inits: The initialisations whose checkpoints must exist; all by default.

    Raises:
        UserError: At the first thing that is not.
    """
    _check_pretrains(suite, root)
    for init in suite.inits.values():
        _check_init(suite, init, root, inits is None or init.name in inits)
    for task in suite.tasks.values():
        _check_task(suite, task, root)
    for analysis in suite.analyses.values():
        where = f'analyses.{analysis.name}'
        _require(analysis.tool, ANALYSES, f'{where}.tool')
        for model in analysis.models:
            _require(model, [*suite.inits, *suite.pretrains], f'{where}.models')
            if model not in suite.pretrains and suite.inits[model].pretrain is None:
                raise UserError(
                    f'{where}.models names {model!r}, which no pre-training of the suite makes'
                )
    check_paper(suite.paper, suite.inits, suite.tasks)
    _check_cells(suite)
    check_findings(suite.findings, suite.inits, suite.tasks, suite.analyses)


def _check_pretrains(suite: Suite, root: Path) -> None:
    seen: set[str] = set()
    for pretrain in suite.pretrains.values():
        where = f'pretrains.{pretrain.name}'
        _check_file(root / pretrain.config, f'{where}.config')
        for need in pretrain.needs.values():
            _require(need, suite.pretrains, f'{where}.needs')
            if need not in seen:
                raise UserError(f'{where} needs {need!r}, which must come before it')
        seen.add(pretrain.name)


def _check_init(suite: Suite, init: Init, root: Path, chosen: bool) -> None:
    where = f'inits.{init.name}'
    if init.pretrain is not None and init.checkpoint is not None:
        raise UserError(f'{where} has a pretrain and a checkpoint: one of them')
    for name in _values(init.pretrain):
        _require(name, suite.pretrains, f'{where}.pretrain')
    for path in _values(init.checkpoint) if chosen else ():
        if '://' not in path and not (root / path).is_file():
            raise UserError(
                f'{where}.checkpoint: {path} does not exist. Put the file there, make it with a '
                'pre-training (pretrain=...), or leave the initialisation out with --inits.'
            )
    for task in init.tasks or ():
        _require(task, suite.tasks, f'{where}.tasks')


def _check_task(suite: Suite, task: Task, root: Path) -> None:
    where = f'tasks.{task.name}'
    if not task.metrics:
        raise UserError(f'{where} reports no metrics')
    for init, config in task.configs.items():
        _require(init, [*suite.inits, DEFAULT], f'{where}.configs')
        _check_file(root / config, f'{where}.configs.{init}')
    if len(set(suite.seeds_of(task))) != len(suite.seeds_of(task)):
        raise UserError(f'{where}: a seed is named twice, which gives two results for one cell')
    for init_name, init in suite.inits.items():
        has = task.config_of(init_name)
        loads = init.pretrain_of(task.domain) or init.checkpoint_of(task.domain)
        if has and init.takes(task.name) and not loads and (init.pretrain or init.checkpoint):
            raise UserError(
                f'inits.{init_name} has nothing for the domain {task.domain!r} of the task '
                f'{task.name!r}; name one, or {DEFAULT!r}'
            )


def _check_cells(suite: Suite) -> None:
    """Check results from elsewhere: one result a cell."""
    planned = {(init.name, task.name, seed) for init, task, seed in suite.cells()}
    seen: set[tuple[str, str, int]] = set()
    for entry in suite.measured:
        missing = {'init', 'task', 'seed', 'metrics'} - set(entry)
        if missing:
            raise UserError(f'measured: {dict(entry)} lacks {", ".join(sorted(missing))}')
        _require(entry['init'], suite.inits, 'measured')
        _require(entry['task'], suite.tasks, 'measured')
        cell = (entry['init'], entry['task'], entry['seed'])
        if cell in seen:
            raise UserError(
                'two results for one cell: measured has {} on {}, seed {} twice'.format(*cell)
            )
        seen.add(cell)
        _require(
            str(cell[2]), [str(s) for i, t, s in planned if (i, t) == cell[:2]], 'measured.seed'
        )


def _check_file(path: Path, where: str) -> None:
    if not path.is_file():
        known = [other.name for other in path.parent.glob('*.py')]
        raise UserError(f'{where}: {path} does not exist.{did_you_mean(path.name, known)}')


def _values(choices: str | Mapping[str, str] | None) -> list[str]:
    if choices is None:
        return []
    return [choices] if isinstance(choices, str) else list(choices.values())
