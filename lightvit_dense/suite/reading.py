"""Read a suite file, or a part of it."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from lightvit_dense.errors import UserError, did_you_mean

from .checks import check_suite, require
from .spec import Analysis, Init, Metric, Pretrain, Suite, Task, values_of

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


KEYS = tuple(f.name for f in fields(Suite) if f.name not in ('text', 'path'))


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
    for name in inits or ():
        require(name, suite.inits, '--inits')
    for name in tasks or ():
        require(name, suite.tasks, '--tasks')
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
    needed |= {name for init in kept.values() for name in values_of(init.pretrain)}
    for pretrain in reversed(list(suite.pretrains.values())):
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
    return ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
