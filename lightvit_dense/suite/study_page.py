"""The page of the small-scale study, from the results of suites and of the small study."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError
from lightvit_dense.utils.tables import to_markdown

from . import study_text as text
from .findings_evidence import KINDS, as_suite_results, read_json
from .findings_rules import ABSENT, NOT_RUN, UNDECIDED, VERDICTS
from .sentences import caveats, progress
from .tables import MEASURED, SuiteTable, as_markdown, make_table

PICTURE = 'small_scale_'
"""How the names of the page's pictures begin."""


@dataclass(frozen=True)
class StudyPage:
    """The page and its pictures.

    Attributes:
        markdown: The page.
        copies: Name of a picture -> file to copy.
        plots: Name of a picture -> table to draw.
    """

    markdown: str
    copies: Mapping[str, Path]
    plots: Mapping[str, SuiteTable]


def build_page(
    suites: Sequence[Mapping[str, Any]],
    study: Mapping[str, Any] | None = None,
    root: str | Path = '.',
    images: str = 'images',
) -> StudyPage:
    """Put the page together.

    Args:
        suites: What ``results.json`` of each suite holds.
        study: What that of ``tools/small_study.py`` holds; None for none.
        root: Folder that the folders of analyses are relative to.
        images: Folder of the pictures as the page links to it.

    Raises:
        UserError: If there is no suite, one is a smoke run, two have the same name, or one has two
            results for one cell.
    """
    _check(suites, study)
    findings = _all_findings(suites)
    copies: dict[str, Path] = {}
    plots: dict[str, SuiteTable] = {}
    parts = [text.TITLE, text.INTRO, '## In short', *_short(findings)]
    parts += ['## How a finding is judged', text.RULES, '## What was run']
    parts += [part for suite in suites for part in _what(suite)]
    parts += ['### Commands', *_commands(suites, study), '## Results']
    for suite in suites:
        name, table = suite['suite']['name'], make_table(suite)
        parts += [f'### {suite["suite"]["title"]}', as_markdown(table).strip()]
        if any(cell.spread for cell in table.cells.values()):
            plots[f'{PICTURE}{name}.png'] = table
            parts.append(_picture(f'{PICTURE}{name}.png', 'All figures, seed by seed', images))
    if study is not None:
        parts += ['### Small real image sets', *_small_sets(study, plots, images)]
    parts += ['## Finding by finding', *[part for f in findings for part in _finding(f)]]
    parts += ['## What does not appear', _absent(findings), '## Inside the networks']
    parts += [part for suite in suites for part in _analyses(suite, Path(root), copies, images)]
    parts += [
        '## How far this carries',
        _table(text.SCALE[0], text.SCALE[1:]),
        text.CAVEATS,
        *_caveats(suites),
    ]
    parts += ['## Machine', _machine(suites[0]), '## Every run', *_runs(suites)]
    return StudyPage('\n\n'.join(part for part in parts if part) + '\n', copies, plots)


def _check(suites: Sequence[Mapping[str, Any]], study: Mapping[str, Any] | None) -> None:
    names = [suite['suite']['name'] for suite in suites]
    if not names:
        raise UserError('the page needs the results of at least one suite')
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'the suite {name!r} is given twice')
    for name, results in zip([*names, 'small_study'], [*suites, study or {}], strict=True):
        if results.get('smoke'):
            raise UserError(f'{name} is a smoke run, whose numbers mean nothing; run it in full')


def _all_findings(suites: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the findings of all suites; of one that several have, that which was judged."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for suite in suites:
        for finding in suite.get('findings', ()):
            key = finding['title'], finding['source']
            if key not in found or found[key]['verdict'] == NOT_RUN:
                found[key] = finding
    return list(found.values())


def _short(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    if not findings:
        return ['The suites have no findings to judge.']
    verdicts = [finding['verdict'] for finding in findings]
    words = ', '.join(f'{v} {verdicts.count(v)}' for v in VERDICTS if v in verdicts)
    table = _table(
        ['finding', 'source', 'here'],
        [[_title(f), f['source'], f'**{f["verdict"]}**'] for f in findings],
    )
    return [f'Verdicts on {len(findings)} findings: {words}.', table]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return to_markdown(header, rows).replace('---:', '---').strip()


def _title(finding: Mapping[str, Any]) -> str:
    return str(finding['title']).replace('|', '\\|')


def _what(suite: Mapping[str, Any]) -> list[str]:
    """Return what a suite is, its state, and what its pre-trainings took."""
    about = suite['suite']
    entries = notes(about.get('text') or '')
    hours = sum(run.get('seconds') or 0 for run in _all_runs(suite)) / 3600
    seeds = ', '.join(map(str, suite['seeds']))
    rows = [
        [
            run['title'],
            iterations_of(run['command']),
            f'{run["seconds"] / 60:.0f}' if run.get('seconds') else None,
            f'{run["peak_memory_mb"] / 1024:.1f}' if run.get('peak_memory_mb') else None,
            run['state'],
        ]
        for run in suite['pretrains']
    ]
    header = ['pre-training', 'iterations', 'minutes', 'peak memory, GiB', 'state']
    state = (
        f'{progress(suite)[0].upper()}{progress(suite)[1:]}; seeds {seeds}; {hours:.1f} hours of '
        f'runs on a machine that did other work, too; results of {about_day(suite)}.'
    )
    parts = [f'### The suite {about["name"]}', entries.get('What', ''), state]
    return [*parts, to_markdown(header, rows).strip()] if rows else parts


def about_day(suite: Mapping[str, Any]) -> str:
    """Return the day of a suite's results."""
    return (suite.get('finished') or 'an unknown day')[:10]


def notes(docstring: str) -> dict[str, str]:
    """Return the ``What``, ``Source``, ``Data``, ... of a config's docstring."""
    found: dict[str, str] = {}
    name = ''
    for line in docstring.splitlines():
        entry = re.match(r'^([A-Z]\w+)  +(\S.*)$', line)
        if entry:
            name = entry[1]
            found[name] = entry[2]
        elif name and line.startswith(' '):
            found[name] += f' {line.strip()}'
    return found


def iterations_of(command: str) -> str | None:
    """Return how long a training's command says that it is; None where its config says so."""
    found = re.search(r'train_cfg\.max_(iters|epochs)=(\d+)', command)
    if found is None:
        return None
    return found[2] if found[1] == 'iters' else f'{found[2]} epochs'


def _commands(suites: Sequence[Mapping[str, Any]], study: Mapping[str, Any] | None) -> list[str]:
    entries = [notes(suite['suite'].get('text') or '') for suite in suites]
    lines = [f'python {entry["Data"]}' for entry in entries if 'Data' in entry]
    if study is not None:
        lines += [
            'python tools/dataset_converters/make_small_sets.py',
            'python tools/small_study.py',
        ]
    for suite, entry in zip(suites, entries, strict=True):
        run = entry.get('Run') or f'tools/run_benchmark.py {suite["suite"]["file"]}'
        lines.append(f'python {run}')
    files = ' '.join(f'work_dirs/suites/{suite["suite"]["name"]}/results.json' for suite in suites)
    lines.append(f'python tools/analysis_tools/write_study.py {files}')
    block = '\n'.join(dict.fromkeys(lines))
    words = 'A stopped suite continues where it was. The command of each run is at the end.'
    return [f'```bash\n{block}\n```', words]


def _picture(name: str, caption: str, images: str) -> str:
    return f'![{caption}]({images}/{name})'


def _small_sets(study: Mapping[str, Any], plots: dict[str, SuiteTable], images: str) -> list[str]:
    from lightvit_dense.suite.study import markdown

    plots[f'{PICTURE}image_sets.png'] = make_table(as_suite_results(study))
    picture = _picture(f'{PICTURE}image_sets.png', 'Top-1 on the small sets', images)
    return [markdown(study).strip(), picture]


def _finding(finding: Mapping[str, Any]) -> list[str]:
    source = f' ({finding["source"]})' if finding['source'] else ''
    parts = [
        f'### {_title(finding)}',
        f'**{finding["verdict"].capitalize()}**{source}. {_escape(finding["sentence"])}',
    ]
    rows = [
        [
            number['label'],
            ', '.join(f'{value:+.2f}' for value in number['values']),
            f'{number["mean"]:+.2f}',
            None if number['deviation'] is None else f'{number["deviation"]:.2f}',
            _interval(number['interval']),
            number['outcome'],
        ]
        for number in finding['numbers']
        if 'outcome' in number
    ]
    kind = 'gain a rank' if finding['type'] == 'ordering' else 'difference'
    header = ['', f'{kind}, seed by seed', 'mean', 'deviation', 'interval', 'outcome']
    return [*parts, to_markdown(header, rows).strip()] if rows else parts


def _interval(interval: Sequence[float] | None) -> str | None:
    return None if interval is None else f'[{interval[0]:+.2f}, {interval[1]:+.2f}]'


def _escape(sentence: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r'([*_`|<])', r'\\\1', sentence)


def _absent(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return what does not appear, and what could not be decided."""
    lines = []
    for verdict, words in (
        (ABSENT, 'Does not appear'),
        (UNDECIDED, 'Undecided'),
        (NOT_RUN, 'Not run'),
    ):
        titles = [_title(finding) for finding in findings if finding['verdict'] == verdict]
        lines += [f'- {words}: {title}.' for title in titles]
    return '\n'.join(lines) or 'Every finding that was looked for appears.'


def _analyses(
    suite: Mapping[str, Any], root: Path, copies: dict[str, Path], images: str
) -> list[str]:
    """Return the pictures of the analyses and what they took."""
    rows, pictures = [], []
    for analysis in suite.get('analyses', ()):
        title = analysis.get('title') or analysis['name']
        cost: Mapping[str, Any] = {}
        if analysis['state'] == MEASURED:
            folder = root / analysis['folder']
            kind = KINDS.get(analysis['tool'], analysis['tool'])
            numbers = [f for f in analysis['files'] if re.fullmatch(rf'{kind}\w*\.json', f)]
            cost = _cost([read_json(folder / file) for file in numbers])
            for place, file in enumerate(f for f in analysis['files'] if f.endswith('.png')):
                suffix = f'_{place + 1}' if place else ''
                name = f'{PICTURE}{suite["suite"]["name"]}_{analysis["name"]}{suffix}.png'
                copies[name] = folder / file
                pictures.append(_picture(name, title, images))
        seconds, memory = cost.get('seconds'), cost.get('peak_memory_mb')
        rows.append(
            [
                title,
                analysis['state'],
                cost.get('images'),
                None if seconds is None else f'{seconds:.0f}',
                None if memory is None else f'{memory:.0f}',
            ]
        )
    header = ['analysis', 'state', 'images', 'seconds', 'peak memory, MiB']
    return [*pictures, _table(header, rows)] if rows else []


def _cost(contents: Sequence[Any]) -> dict[str, Any]:
    """Return images, seconds of all models together and peak memory of an analysis' files."""
    found: dict[str, Any] = {}
    for key, join in (('images', max), ('seconds', sum), ('peak_memory_mb', max)):
        values = [c[key] for c in contents if isinstance(c, Mapping) and c.get(key) is not None]
        if values:
            found[key] = join(values)
    return found


def _caveats(suites: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = dict.fromkeys(line for s in suites for line in caveats(s, make_table(s)))
    return ['\n'.join(f'- {line}' for line in lines)]


def _machine(suite: Mapping[str, Any]) -> str:
    facts = dict(suite.get('environment') or {})
    versions = facts.pop('versions', {})
    rows = [[name, value] for name, value in [*facts.items(), *versions.items()]]
    return _table(['what', 'value'], rows)


def _all_runs(suite: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for kind in ('pretrains', 'cells', 'analyses') for run in suite.get(kind, ())]


def _runs(suites: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the commands of all pre-trainings and analyses, and of the cells of one seed."""
    lines = []
    for suite in suites:
        first = min(suite['seeds'], default=None)
        for run in _all_runs(suite):
            if run.get('seed', first) != first or not run.get('command'):
                continue
            lines.append(f'# {run.get("title") or run.get("name")}')
            lines += [plain(run[key]) for key in ('command', 'test_command') if run.get(key)]
    words = (
        'The runs of other seeds differ in the seed alone. Paths are relative to the repository, '
        'with the data in `data` unless `$LIGHTVIT_DATA` names another folder.'
    )
    return [words, '```text\n' + '\n'.join(lines) + '\n```']


def plain(command: str) -> str:
    """Return a command whose paths into the repository are relative to it."""
    words = []
    for word in shlex.split(command):
        words.append(re.sub(r'(^|=)/\S*?/(work_dirs|data|configs|tools)(/|$)', r'\1\2\3', word))
    return shlex.join(words)
