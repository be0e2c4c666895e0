"""What a suite file says, read and checked by pydantic before anything runs."""

import ast
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lightvit_dense.compat.config_environment import install
from lightvit_dense.errors import UserError, did_you_mean, require_known
from lightvit_dense.utils.home import find_file, home
from lightvit_dense.utils.shipped import locate

from .findings import check_findings
from .papers import check_paper
from .results import Metric

DEFAULT = 'default'
"""Stands for every initialisation, or every domain, that is not named."""
ANALYSES = ('cka', 'fourier', 'attention_stats', 'attention_agreement')
"""Tools of ``tools/analysis_tools`` that a suite can run."""
CHECKPOINT_KEY = 'model.backbone.init_cfg.checkpoint'
PARTS = ('prepare', 'pretrains', 'inits', 'tasks', 'analyses', 'pictures')
_STRICT = ConfigDict(extra='forbid')


@dataclass(frozen=True, config=_STRICT)
class Prepare:
    """A tool that makes data before anything trains."""

    name: str
    tool: str
    title: str = ''
    args: Sequence[str] = ()  # what the tool takes without a name
    options: Mapping[str, Any] = field(default_factory=dict)  # ``{data}`` is the root of the data
    smoke: Mapping[str, Any] = field(default_factory=dict)  # options of a smoke run
    outputs: Sequence[str] = ()  # files below the root of the data that it must leave
    version: str | None = None  # ``module:NAME`` of a value that changes with what the tool makes


@dataclass(frozen=True, config=_STRICT)
class Pretrain:
    """A pre-training whose backbone is used afterwards."""

    name: str
    config: str
    title: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)  # config values by dotted key
    needs: Mapping[str, str] = field(default_factory=dict)  # key of a checkpoint -> pre-training
    data: Sequence[str] | None = None  # what prepares its data; all that is there by default
    # The file that the others read; None for its last checkpoint, the whole model.
    output: str | None = 'backbone.safetensors'


@dataclass(frozen=True, config=_STRICT)
class Init:
    """What tasks start from; ``pretrain`` or ``checkpoint`` is a name, or one for each domain."""

    name: str
    title: str = ''
    pretrain: str | Mapping[str, str] | None = None
    checkpoint: str | Mapping[str, str] | None = None
    tasks: Sequence[str] | None = None  # those it takes part in; None for all
    options: Mapping[str, Any] = field(default_factory=dict)  # config values by dotted key
    series: str = ''  # the initialisation of the file that a sweep made this one from
    value: Any = None  # the value of the sweep

    def pretrain_of(self, domain: str) -> str | None:
        """Return the pre-training for a domain."""
        return _choose(self.pretrain, domain)

    def checkpoint_of(self, domain: str) -> str | None:
        """Return the checkpoint for a domain."""
        return _choose(self.checkpoint, domain)

    def config_of(self, task: 'Task') -> str | None:
        """Return the config of a task; None where it takes no part, or the task has none."""
        if self.tasks is not None and task.name not in self.tasks:
            return None
        return _choose(task.configs, self.series or self.name)


@dataclass(frozen=True, config=_STRICT)
class Sweep:
    """Repeats each initialisation that loads weights with several values of a config key."""

    key: str
    values: Sequence[Any]
    title: str  # of the values, for tables and figures


@dataclass(frozen=True, config=_STRICT)
class Task:
    """A downstream task."""

    name: str
    configs: Mapping[str, str]  # by initialisation; ``default`` stands for those not named
    metrics: Sequence[Metric]  # the first one leads
    title: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)  # config values by dotted key
    checkpoint_key: str = CHECKPOINT_KEY
    seeds: Sequence[int] | None = None  # the suite's by default
    seed_keys: Sequence[str] = ('randomness.seed',)
    test: bool = True  # whether tools/test.py runs afterwards; else the last validation counts
    # Config values of the test; ``{folder}`` is the folder of the test.
    test_options: Mapping[str, Any] = field(default_factory=dict)
    domain: str = DEFAULT  # what the images are, for initialisations that differ by it
    data: Sequence[str] | None = None  # what prepares its data; all that is there by default


@dataclass(frozen=True, config=_STRICT)
class Analysis:
    """A look into one or two backbones."""

    name: str
    tool: str  # one of ANALYSES
    models: Sequence[str]  # initialisations or pre-trainings
    images: str  # folder, below the root of the data if it is relative
    options: Mapping[str, Any] = field(default_factory=dict)  # of the tool
    title: str = ''
    domain: str = DEFAULT  # for initialisations that differ by it


@dataclass(frozen=True, config=_STRICT)
class Picture:
    """Pictures of what runs left, for the page; the first measured seed is shown."""

    name: str
    draw: str  # ``module:function``, see suite/pictures.py
    task: str | None = None  # whose initialisations are shown
    models: Sequence[str] = ()  # pre-trainings that are shown
    options: Mapping[str, Any] = field(default_factory=dict)  # of the function
    title: str = ''


@dataclass(frozen=True, config=_STRICT)
class Suite:
    """A whole suite file; results go to ``work_dirs/suites/<name>``."""

    name: str
    title: str
    inits: Mapping[str, Init] = Field(min_length=1)
    tasks: Mapping[str, Task] = Field(min_length=1)
    seeds: Sequence[int] = (0,)
    prepare: Mapping[str, Prepare] = field(default_factory=dict)
    pretrains: Mapping[str, Pretrain] = field(default_factory=dict)  # after those they need
    analyses: Mapping[str, Analysis] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    sweep: Sweep | None = None
    paper: Mapping[str, Any] = field(default_factory=dict)  # of the papers, see suite/papers.py
    findings: Sequence[Mapping[str, Any]] = ()  # statements to check, see suite/findings.py
    text: str = ''  # the file's docstring
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
            if seed in self.seeds_of(task) and init.config_of(task)
        ]


ENTRIES = (Prepare, Pretrain, Init, Task, Analysis, Picture)


def _choose(choices: str | Mapping[str, str] | None, key: str) -> str | None:
    if isinstance(choices, Mapping):
        return choices.get(key, choices.get(DEFAULT))
    return choices


def read_suite(
    path: str | Path,
    root: str | Path = '.',
    inits: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Suite:
    """Read and check a suite file; raise UserError at the first mistake, with its place.

    ``path`` is a Python config, whose paths are relative to ``root``, or the name of a suite of
    ours, such as 'demo'. ``inits`` and ``tasks`` choose a part of it, ``seeds`` count instead of
    the file's, ``options`` override its values, see :func:`override`.
    """
    from mmengine.config import Config

    install()
    path = Path(path)
    suites = home() / 'configs/suites'
    if not path.is_file():
        path = next((f for f in suites.glob('*.py') if f.stem == str(path)), find_file(path))
    if not path.is_file():
        folders = [path.parent, suites]
        folder = next((f for f in folders if any(f.glob('*.py'))), folders[0])
        known = ', '.join(sorted(other.name for other in folder.glob('*.py'))) or 'no'
        hint = did_you_mean(path.stem, (other.stem for other in suites.glob('*.py')))
        raise UserError(f'suite {path} does not exist; {folder} has {known}.{hint}')
    try:
        content = Config.fromfile(path).to_dict()
    except (SyntaxError, OSError, LookupError, NameError, TypeError, ValueError) as error:
        raise UserError(f'suite {path} cannot be read: {type(error).__name__}: {error}') from error
    for key, value in (options or {}).items():
        override(content, key, value)
    # A file may keep values of its own.
    content = {key: value for key, value in content.items() if not key.startswith('_')}
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    suite = replace(_expand(_validate(content, path)), text=text, path=path)
    of_sweep = [init.series for init in suite.inits.values() if init.series]
    for name in inits or ():
        require_known(name, dict.fromkeys([*of_sweep, *suite.inits]), '--inits')
    for name in tasks or ():
        require_known(name, suite.tasks, '--tasks')
    chosen = [
        name
        for name, init in suite.inits.items()
        if inits is None or name in inits or init.series in inits
    ]
    _check(suite, Path(root), chosen)
    return _select(suite, chosen, tasks, seeds)


def override(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its dotted key; ``*`` is every entry, what follows ``options`` one key."""
    part, _, rest = key.partition('.')
    if part == '*' and rest:
        for entry in list(content):
            override(content, f'{entry}.{rest}', value)
    elif part in ('options', 'test_options') and rest:
        content[part] = {**content.get(part, {}), rest: value}
    elif rest:
        inner = content.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f'--cfg-options {key}: {part!r} is {inner!r}, which has no keys')
        override(inner, rest, value)
    else:
        content[part] = value


def _validate(content: Mapping[str, Any], path: Path) -> Suite:
    """Build the suite; entries know their names, which are titles where there are none."""
    values = {'name': path.stem, 'title': content.get('name') or path.stem, **content}
    for part in PARTS:
        entries = values.get(part, {})
        if isinstance(entries, Mapping):
            values[part] = {
                name: {**entry, 'name': name, 'title': entry.get('title') or name}
                if isinstance(entry, Mapping)
                else entry
                for name, entry in entries.items()
            }
    try:
        return TypeAdapter(Suite).validate_python(values)
    except ValidationError as error:
        raise UserError(f'suite {path}: {_explain(error, values)}') from error


def _explain(error: ValidationError, values: Mapping[str, Any]) -> str:
    """Return one mistake, an unknown key first: its place, what is wrong, what there is instead."""
    unknown = 'unexpected_keyword_argument'
    found = min(error.errors(), key=lambda item: item['type'] != unknown)
    *place, last = map(str, found['loc'])
    where = '.'.join(place) or 'the file'
    if found['type'] == 'missing':
        entry = len(place) == 2 and place[0] in PARTS
        others = [name for name in values[place[0]] if name != place[1]] if entry else []
        return f'{where} lacks {last!r}.{did_you_mean(place[-1], others) if entry else ""}'
    if found['type'] == unknown:
        kinds: dict[str, Any] = dict(zip(PARTS, ENTRIES, strict=True), sweep=Sweep)
        kind = Metric if 'metrics' in place else kinds[place[0]] if place else Suite
        own = {'series', 'value', 'text', 'path', *(['name'] if place else [])}
        known = sorted({f.name for f in fields(kind)} - own)
        return f'{where} has no {last!r}; there are {", ".join(known)}.{did_you_mean(last, known)}'
    return f'{".".join([*place, last])}: {found["msg"]}, not {found["input"]!r}'


def _expand(suite: Suite) -> Suite:
    """Put one initialisation for each value of the sweep in the place of those that load."""
    sweep = suite.sweep
    if sweep is None:
        return suite
    if len(set(map(str, sweep.values))) != len(sweep.values) or not sweep.values:
        raise UserError(f'sweep.values: {list(sweep.values)} must be different values')
    inits = []
    for init in suite.inits.values():
        if init.pretrain is None and init.checkpoint is None:
            inits.append(init)
            continue
        for value in sweep.values:
            name, title = f'{init.name}_{value}', f'{init.title}, {sweep.title} {value}'
            known = dict(name=name, title=title, series=init.name, value=value)
            inits.append(replace(init, options={**init.options, sweep.key: value}, **known))
    return replace(suite, inits={init.name: init for init in inits})


def _select(
    suite: Suite, inits: Sequence[str], tasks: Sequence[str] | None, seeds: Sequence[int] | None
) -> Suite:
    """Return a part of a suite; pre-trainings that nothing needs any more are left out."""
    kept = {n: i for n, i in suite.inits.items() if n in inits}
    chosen = {n: t for n, t in suite.tasks.items() if tasks is None or n in tasks}
    if seeds is not None:
        chosen = {n: replace(t, seeds=tuple(seeds)) for n, t in chosen.items()}
    there = set(kept) | (set(suite.pretrains) - (set(suite.inits) - set(kept)))
    analyses = {n: a for n, a in suite.analyses.items() if set(a.models) <= there}
    needed = {model for a in analyses.values() for model in a.models}
    domains = {task.domain for task in chosen.values()}
    domains |= {analysis.domain for analysis in analyses.values()}
    needed |= {init.pretrain_of(domain) or '' for init in kept.values() for domain in domains}
    for pretrain in reversed(list(suite.pretrains.values())):
        if pretrain.name in needed:
            needed |= set(pretrain.needs.values())
    pretrains = {n: p for n, p in suite.pretrains.items() if n in needed}
    users: list[Task | Pretrain] = [*chosen.values(), *pretrains.values()]
    data = {n for user in users for n in (suite.prepare if user.data is None else user.data)}
    pictures = {
        n: p
        for n, p in suite.pictures.items()
        if {p.task} <= {None, *chosen} and set(p.models) <= set(pretrains)
    }
    return replace(
        suite,
        seeds=suite.seeds if seeds is None else tuple(seeds),
        prepare={n: p for n, p in suite.prepare.items() if n in data},
        inits=kept,
        tasks=chosen,
        analyses=analyses,
        pretrains=pretrains,
        pictures=pictures,
    )


def _check(suite: Suite, root: Path, chosen: Sequence[str]) -> None:
    """Check that all that a suite names is there; of checkpoints, those of chosen ones."""
    for where, names, known in _references(suite):
        for name in names:
            require_known(name, known, where)
    files = {f'prepare.{n}.tool': p.tool for n, p in suite.prepare.items()}
    files |= {f'pretrains.{n}.config': p.config for n, p in suite.pretrains.items()}
    for task in suite.tasks.values():
        files |= {f'tasks.{task.name}.configs.{n}': c for n, c in task.configs.items()}
    for where, file in files.items():
        path = find_file(file, root)
        if not path.is_file():
            hint = did_you_mean(path.name, (other.name for other in path.parent.glob('*.py')))
            raise UserError(f'{where}: {path} does not exist.{hint}')
    before: set[str] = set()
    for name, pretrain in suite.pretrains.items():
        for need in set(pretrain.needs.values()) - before:
            raise UserError(f'pretrains.{name} needs {need!r}, which must come before it')
        before.add(name)
    for init in suite.inits.values():
        _check_init(suite, init, root, init.name in chosen)
    for task in suite.tasks.values():
        where, seeds = f'tasks.{task.name}', suite.seeds_of(task)
        if not task.metrics:
            raise UserError(f'{where} reports no metrics')
        if len(set(seeds)) != len(seeds):
            raise UserError(f'{where}: a seed is named twice, which gives two results for one cell')
    for analysis in suite.analyses.values():
        for model in analysis.models:
            found = suite.inits.get(model)
            if found is not None and found.pretrain_of(analysis.domain) is None:
                raise UserError(
                    f'analyses.{analysis.name}.models names {model!r}, which no pre-training of '
                    f'the suite makes for the domain {analysis.domain!r}'
                )
    for name, picture in suite.pictures.items():
        try:
            pkgutil.resolve_name(picture.draw)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f'pictures.{name}.draw: {picture.draw!r} is no function') from error
    check_paper(suite.paper, suite.inits, suite.tasks)
    check_findings(suite.findings, suite.inits, suite.tasks, suite.analyses)


def _references(suite: Suite) -> Iterator[tuple[str, Iterable[Any], Iterable[Any]]]:
    """Yield each place that names other entries, the names, and what there is."""
    for name, pretrain in suite.pretrains.items():
        yield f'pretrains.{name}.data', pretrain.data or (), suite.prepare
        yield f'pretrains.{name}.needs', pretrain.needs.values(), suite.pretrains
    for init in suite.inits.values():
        where = f'inits.{init.series or init.name}'
        yield f'{where}.pretrain', _values(init.pretrain), suite.pretrains
        yield f'{where}.tasks', init.tasks or (), suite.tasks
    series = dict.fromkeys(init.series or init.name for init in suite.inits.values())
    for name, task in suite.tasks.items():
        yield f'tasks.{name}.data', task.data or (), suite.prepare
        yield f'tasks.{name}.configs', task.configs, [*series, DEFAULT]
    for name, analysis in suite.analyses.items():
        yield f'analyses.{name}.tool', [analysis.tool], ANALYSES
        yield f'analyses.{name}.models', analysis.models, [*suite.inits, *suite.pretrains]
    for name, picture in suite.pictures.items():
        yield f'pictures.{name}.task', [picture.task] if picture.task else (), suite.tasks
        yield f'pictures.{name}.models', picture.models, suite.pretrains


def _check_init(suite: Suite, init: Init, root: Path, chosen: bool) -> None:
    """Check what an initialisation starts from."""
    where = f'inits.{init.series or init.name}'
    if init.pretrain is not None and init.checkpoint is not None:
        raise UserError(f'{where} has a pretrain and a checkpoint: one of them')
    for path in _values(init.checkpoint) if chosen else ():
        if '://' not in path and not (root / locate(path)).is_file():
            raise UserError(
                f'{where}.checkpoint: {path} does not exist. Put the file there, make it with a '
                'pre-training (pretrain=...), or leave the initialisation out with --inits.'
            )
    for task in suite.tasks.values() if init.pretrain or init.checkpoint else ():
        loads = init.pretrain_of(task.domain) or init.checkpoint_of(task.domain)
        if init.config_of(task) and not loads:
            raise UserError(
                f'inits.{init.name} has nothing for the domain {task.domain!r} of the task '
                f'{task.name!r}; name one, or {DEFAULT!r}'
            )


def _values(choices: str | Mapping[str, str] | None) -> Iterable[str]:
    """Return all values of a choice by key."""
    return choices.values() if isinstance(choices, Mapping) else filter(None, [choices])
