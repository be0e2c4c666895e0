"""What findings are judged by: tables of runs, files of analyses, and names that may be used."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError, did_you_mean

from .findings_rules import NotRunError
from .tables import MEASURED, SuiteTable, make_table

SMALL_STUDY = 'small_study'
"""Name of the results of ``tools/small_study.py``."""
KINDS = {
    'cka': 'cka',
    'fourier': 'fourier',
    'attention_stats': 'attention',
    'attention_agreement': 'agreement',
}
"""Tool -> what it calls its files."""


@dataclass(frozen=True)
class Judgement:
    """What a finding comes to.

    Attributes:
        verdict: One of :data:`~.findings_rules.VERDICTS`.
        sentence: Why, with the numbers.
        numbers: The same as plain data, one dict a comparison.
    """

    verdict: str
    sentence: str
    numbers: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Known:
    """Names that a finding may use; None where they cannot be known yet.

    Attributes:
        inits: Initialisations.
        tasks: Task -> keys of its figures.
        analyses: Analysis -> its tool and models.
    """

    inits: Sequence[str] | None
    tasks: Mapping[str, Sequence[str]] | None
    analyses: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)

    def require_init(self, name: str, where: str) -> None:
        """Raise UserError if there is no such initialisation."""
        if self.inits is not None:
            require(name, self.inits, f'{where}: initialisation')

    def require_task(self, name: str, metric: str | None, where: str) -> None:
        """Raise UserError if there is no such task or figure."""
        if self.tasks is not None:
            require(name, self.tasks, f'{where}.tasks')
            if metric is not None:
                require(metric, self.tasks[name], f'{where}.tasks: metric of {name!r}')

    def require_analysis(self, name: str, tools: Iterable[str], where: str) -> Sequence[str]:
        """Return the models of an analysis; raise UserError if there is none by these tools."""
        require(name, self.analyses, f'{where}: analysis')
        tool, models = self.analyses[name]
        if tool not in tools:
            raise UserError(
                f'{where}: the analysis {name!r} is by {tool}, this needs one by '
                f'{" or ".join(tools)}'
            )
        return models


def require(name: Any, known: Iterable[str], where: str) -> None:
    """Check a name.

    Raises:
        UserError: If it is unknown; says what there is.
    """
    known = list(known)
    if name not in known:
        words = f'{where} {name!r} is unknown; there are {", ".join(known) or "none"}.'
        raise UserError(words + did_you_mean(str(name), known))


def names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def results_path(name: str, root: str | Path = '.') -> Path:
    """Return the file of other results: ``<name>`` if it ends so, or of a folder in work_dirs.

    Args:
        name: Such as ``small_study``, ``suites/toyworld`` or ``results/mine.json``.
        root: Folder that relative paths start from.
    """
    if name.endswith('.json'):
        return Path(root) / name
    return Path(root) / 'work_dirs' / name / 'results.json'


def read_results(path: str | Path) -> dict[str, Any]:
    """Read the results of a suite or of the small study.

    Args:
        path: ``results.json``.

    Returns:
        Them as a suite writes them, see :func:`~.results.collect`.

    Raises:
        UserError: If the file is missing, half-written or something else.
    """
    path = Path(path)
    content = read_json(path)
    if isinstance(content, dict):
        if {'cells', 'inits', 'tasks'} <= set(content):
            return content
        if {'runs', 'settings'} <= set(content):
            return as_suite_results(content)
    raise UserError(
        f'{path}: these are results neither of a suite nor of the small study; write them anew '
        'with tools/run_benchmark.py --report-only or tools/small_study.py'
    )


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: If it is missing or half-written.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(
            f'there is no {path} to read ({error.strerror}); run what writes it'
        ) from error
    except ValueError as error:
        raise UserError(f'{path} is damaged or half-written ({error}); write it anew') from error


def as_suite_results(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the small study's results as a suite's: a setting is a task, its figure top-1."""
    from lightvit_dense.suite.study import INITS

    metrics = [{'key': 'accuracy/top1', 'title': 'top-1', 'scale': 1.0, 'digits': 1}]
    inits = list(dict.fromkeys(run['init'] for run in study['runs']))
    return {
        'smoke': bool(study.get('smoke')),
        'seeds': list(study.get('seeds', ())),
        'inits': [{'name': init, 'title': INITS.get(init, init)} for init in inits],
        'tasks': [
            {'name': s['name'], 'title': s['title'], 'metrics': metrics} for s in study['settings']
        ],
        'cells': [
            {
                'init': run['init'],
                'task': run['setting'],
                'seed': run['seed'],
                'state': MEASURED,
                'metrics': {'accuracy/top1': run['top1']},
            }
            for run in study['runs']
        ],
    }


@dataclass(frozen=True)
class Evidence:
    """All that findings are judged by.

    Attributes:
        results: A suite's results.
        root: Folder that the folders of analyses and other results are relative to.
    """

    results: Mapping[str, Any]
    root: Path = Path()

    @cached_property
    def own_table(self) -> SuiteTable:
        """The suite's own table."""
        return make_table(self.results)

    def table(self, name: str | None = None) -> SuiteTable:
        """Return the table of these or of other results.

        Raises:
            NotRunError: If the other results are missing, unreadable or of a smoke run.
        """
        if name is None:
            return self.own_table
        try:
            other = read_results(results_path(name, self.root))
            if other.get('smoke'):
                raise NotRunError(f'{name} is a smoke run, whose numbers mean nothing')
            return make_table(other)
        except UserError as error:
            raise NotRunError(self._plain(error)) from error

    def _plain(self, error: UserError) -> str:
        """Return a message without the folder that everything lies in."""
        return str(error).replace(f'{self.root}/', '')

    def analysis(self, name: str) -> Mapping[str, Any]:
        """Return what is known of a finished analysis.

        Raises:
            NotRunError: If there is none.
        """
        for entry in self.results.get('analyses', ()):
            if entry['name'] == name:
                if entry['state'] != MEASURED:
                    raise NotRunError(f'the analysis {name!r} is not measured: {entry["state"]}')
                return entry
        raise NotRunError(f'the results have no analysis {name!r}')

    def contents(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON files of an analysis that are of its tool's kind.

        Raises:
            NotRunError: If there is none, or one cannot be read.
        """
        entry = self.analysis(name)
        folder, kind = self.root / entry['folder'], KINDS.get(entry['tool'], entry['tool'])
        files = [f for f in entry['files'] if f.endswith('.json') and f.startswith(kind)]
        try:
            found = [read_json(folder / file) for file in files]
        except UserError as error:
            raise NotRunError(self._plain(error)) from error
        found = [c for c in found if isinstance(c, dict) and c.get('kind') == kind]
        if not found:
            raise NotRunError(f'the analysis {name!r} left no {kind} in {entry["folder"]}')
        return found

    def is_model(self, described: Mapping[str, Any], model: str) -> bool:
        """Return whether a tool's description of a model is that of one of the suite's.

        Tools know a title and a checkpoint; the checkpoint of a pre-training lies in its folder.
        """
        sources = {init['name']: init.get('pretrain') for init in self.results['inits']}
        source = sources.get(model) or model
        if isinstance(source, Mapping):
            source = source.get('default')
        checkpoint = str(described.get('checkpoint') or '')
        if Path(checkpoint).parent.name.startswith('pretrain_'):
            return Path(checkpoint).parent.name == f'pretrain_{source}'
        return described.get('title') == self.title_of(model)

    def title_of(self, model: str) -> str:
        """Return the title of an initialisation or pre-training."""
        for kind in ('inits', 'pretrains'):
            for entry in self.results.get(kind, ()):
                if entry['name'] == model:
                    return str(entry.get('title') or model)
        return model
