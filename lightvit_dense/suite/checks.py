"""What a suite file names must exist, before anything runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lightvit_dense.errors import UserError, did_you_mean

from .findings import check_findings
from .papers import check_paper
from .spec import ANALYSES, DEFAULT, Init, Suite, Task, values_of


def require(name: str, known: Iterable[str], where: str) -> None:
    """Check that a name is known.

    Raises:
        UserError: If it is not; says where it was used and what there is.
    """
    known = list(known)
    if name not in known:
        words = f'{where} names {name!r}, which is unknown; there are {", ".join(known) or "none"}.'
        raise UserError(words + did_you_mean(name, known))


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
        require(analysis.tool, ANALYSES, f'{where}.tool')
        for model in analysis.models:
            require(model, [*suite.inits, *suite.pretrains], f'{where}.models')
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
            require(need, suite.pretrains, f'{where}.needs')
            if need not in seen:
                raise UserError(f'{where} needs {need!r}, which must come before it')
        seen.add(pretrain.name)


def _check_init(suite: Suite, init: Init, root: Path, chosen: bool) -> None:
    where = f'inits.{init.name}'
    if init.pretrain is not None and init.checkpoint is not None:
        raise UserError(f'{where} has a pretrain and a checkpoint: one of them')
    for name in values_of(init.pretrain):
        require(name, suite.pretrains, f'{where}.pretrain')
    for path in values_of(init.checkpoint) if chosen else ():
        if '://' not in path and not (root / path).is_file():
            raise UserError(
                f'{where}.checkpoint: {path} does not exist. Put the file there, make it with a '
                'pre-training (pretrain=...), or leave the initialisation out with --inits.'
            )
    for task in init.tasks or ():
        require(task, suite.tasks, f'{where}.tasks')


def _check_task(suite: Suite, task: Task, root: Path) -> None:
    where = f'tasks.{task.name}'
    if not task.metrics:
        raise UserError(f'{where} reports no metrics')
    for name, config in task.configs.items():
        require(name, [*suite.inits, DEFAULT], f'{where}.configs')
        _check_file(root / config, f'{where}.configs.{name}')
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
        require(entry['init'], suite.inits, 'measured')
        require(entry['task'], suite.tasks, 'measured')
        cell = (entry['init'], entry['task'], entry['seed'])
        if cell in seen:
            raise UserError(
                'two results for one cell: measured has {} on {}, seed {} twice'.format(*cell)
            )
        seen.add(cell)
        seeds = sorted(seed for init, task, seed in planned if (init, task) == cell[:2])
        require(str(cell[2]), map(str, seeds), 'measured.seed')


def _check_file(path: Path, where: str) -> None:
    if not path.is_file():
        known = [other.name for other in path.parent.glob('*.py')]
        raise UserError(f'{where}: {path} does not exist.{did_you_mean(path.name, known)}')
