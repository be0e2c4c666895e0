"""Do the papers' findings appear? Statements as plain data, judged by what was measured.

A suite file lists ``findings``: dicts with a ``type`` of :data:`TYPES` and its arguments. Seeds
decide by intervals of paired differences, see :mod:`.findings_rules`; figures of analyses, which
come from one pre-training, by a margin. What is missing or failed makes a finding *not run*.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightvit_dense.errors import UserError

from .findings_analyses import CKARises, CompareAnalysis, LocalUpperLayers, require_keys
from .findings_evidence import SMALL_STUDY, Evidence, Judgement, Known, require
from .findings_rules import NOT_RUN, NotRunError
from .findings_runs import AtLeast, Ordering


class Finding(Protocol):
    """A statement that can be judged."""

    title: str
    source: str

    def check(self, known: Known, where: str) -> None:
        """Raise UserError if it names what is unknown."""

    def judge(self, evidence: Evidence) -> Judgement:
        """Return the verdict; raise NotRunError if something is missing."""


TYPES: Mapping[str, type] = {
    kind.kind: kind  # type: ignore[attr-defined]
    for kind in (AtLeast, Ordering, CKARises, LocalUpperLayers, CompareAnalysis)
}
"""Types of findings by name; their docstrings have rules and arguments."""


def build_finding(values: Mapping[str, Any], where: str = 'finding') -> Finding:
    """Build a finding from plain data.

    Raises:
        UserError: If its type or a key is unknown, or one is missing.
    """
    if not isinstance(values, Mapping):
        raise UserError(f'{where} must be a dict, got {type(values).__name__}')
    content = dict(values)
    if 'type' not in content:
        raise UserError(f'{where} lacks a type; there are {", ".join(TYPES)}')
    name = content.pop('type')
    require(name, TYPES, f'{where}.type')
    require_keys(content, TYPES[name], where)
    try:
        return TYPES[name](**content)
    except TypeError as error:
        raise UserError(f'{where} ({name}) lacks {str(error).rpartition(": ")[2]}') from error


def check_findings(
    findings: Iterable[Mapping[str, Any]],
    inits: Iterable[str],
    tasks: Mapping[str, Any],
    analyses: Mapping[str, Any],
) -> None:
    """Check the findings of a suite file before anything runs.

    Args:
        findings: As the file has them.
        inits: Names of the initialisations.
        tasks: The suite's tasks by name.
        analyses: The suite's analyses by name.

    Raises:
        UserError: If one is malformed or names what is unknown; says what there is.
    """
    known = Known(
        tuple(inits),
        {name: [metric.key for metric in task.metrics] for name, task in tasks.items()},
        {name: (analysis.tool, tuple(analysis.models)) for name, analysis in analyses.items()},
    )
    for place, values in enumerate(findings):
        where = f'findings[{place}]'
        finding = build_finding(values, where)
        finding.check(_elsewhere(values.get('results'), known), where)


def _elsewhere(results: str | None, known: Known) -> Known:
    """Return the names of other results; those of a suite are known when it has run."""
    if results is None:
        return known
    if results == SMALL_STUDY:
        from lightvit_dense.suite.study import INITS, SETTINGS

        return Known(tuple(INITS), {s.name: ['accuracy/top1'] for s in SETTINGS}, known.analyses)
    return Known(None, None, known.analyses)


def judge_findings(
    findings: Sequence[Mapping[str, Any]], results: Mapping[str, Any], root: str | Path = '.'
) -> list[dict[str, Any]]:
    """Judge the findings of a suite.

    Args:
        findings: As the suite file has them.
        results: What ``results.json`` of the suite holds.
        root: Folder that the folders of analyses and other results are relative to.

    Returns:
        'type', 'title', 'source', 'verdict' (``appears``, ``does not appear``, ``undecided`` or
        ``not run``), 'sentence' and 'numbers' of each.

    Raises:
        UserError: If a finding is malformed, or if there are two results for one cell.
    """
    evidence = Evidence(results, Path(root))
    found = []
    for place, values in enumerate(findings):
        finding = build_finding(values, f'findings[{place}]')
        judged = _judge(finding, evidence)
        found.append(
            {
                'type': values['type'],
                'title': finding.title,
                'source': finding.source,
                'verdict': judged.verdict,
                'sentence': judged.sentence,
                'numbers': [dict(entry) for entry in judged.numbers],
            }
        )
    return found


def _judge(finding: Finding, evidence: Evidence) -> Judgement:
    if evidence.results.get('smoke'):
        return Judgement(NOT_RUN, 'This was a smoke run, whose numbers mean nothing.')
    try:
        return finding.judge(evidence)
    except NotRunError as error:
        text = str(error)
        return Judgement(NOT_RUN, f'{text[0].upper()}{text[1:].rstrip(".")}.')
