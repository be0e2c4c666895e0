"""Further tests of the same model: ``extra_tests`` of a config.

``extra_tests = dict(real=dict(evaluator=...), v2=dict(dataloader=..., evaluator=...))``: an entry
without a data loader evaluates the predictions of the main test too; one with a data loader makes
another pass. The model is built and loaded once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from lightvit_dense.apis.workers import stop_workers
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.evaluation.joint import class_tables

ALL = 'all'


def choose_extras(cfg: Config, names: Sequence[str]) -> dict[str, ConfigDict]:
    """Return the extra tests that are asked for.

    Args:
        cfg: The whole config; an entry that is None counts as absent.
        names: Names of extra tests, or 'all'.

    Raises:
        UserError: If a name is unknown, or an entry has no evaluator.
    """
    known = {name: entry for name, entry in (cfg.get('extra_tests') or {}).items() if entry}
    for name in names:
        if name not in (*known, ALL) or not known:
            listed = f'it has {", ".join(known)}' if known else 'it has none (`extra_tests`)'
            raise UserError(
                f'--extra {name}: {cfg.filename or "the config"} has no such test; {listed}.'
                f'{did_you_mean(name, known)}'
            )
    chosen = {n: entry for n, entry in known.items() if ALL in names or n in names}
    for name, entry in chosen.items():
        if not isinstance(entry, Mapping) or not entry.get('evaluator'):
            raise UserError(
                f'extra_tests.{name} must be dict(evaluator=...) or dict(dataloader=..., '
                'evaluator=...)'
            )
    return chosen


def join_evaluators(cfg: Config, extras: Mapping[str, Mapping]) -> None:
    """Add to the main test the evaluators of the extra tests that have no data of their own.

    Args:
        cfg: The whole config, changed in place.
        extras: What :func:`choose_extras` returned.
    """
    shared = {name: e['evaluator'] for name, e in extras.items() if not e.get('dataloader')}
    if shared:
        cfg.test_evaluator = _joint(cfg.test_evaluator, shared)


def run_tests(
    runner: Runner, extras: Mapping[str, Mapping]
) -> tuple[dict[str, float], dict[str, list[dict]]]:
    """Run the main test and then those extra tests that have data of their own.

    Args:
        runner: A runner made for testing.
        extras: What :func:`choose_extras` returned.

    Returns:
        All metrics by name, and the tables of the classes by the name of their metric.
    """
    others = {name: entry for name, entry in extras.items() if entry.get('dataloader')}
    if not others:
        found = runner.test()
        return found, class_tables(runner.test_loop.evaluator)
    # All loops are built first, so that what is wrong with their data is told before any runs.
    settings = runner._test_loop
    main = runner._test_dataloader, runner._test_evaluator
    loops = []
    for name, entry in others.items():
        runner._test_dataloader = entry['dataloader']
        runner._test_evaluator = _joint([], {name: entry['evaluator']})
        loops.append(runner.build_test_loop(settings))
    runner._test_dataloader, runner._test_evaluator = main
    loops.insert(0, runner.build_test_loop(settings))

    runner.call_hook('before_run')
    runner.load_or_resume()
    metrics: dict[str, float] = {}
    tables: dict[str, list[dict]] = {}
    for loop in loops:
        runner._test_loop = loop
        metrics |= loop.run()
        tables |= class_tables(loop.evaluator)
        stop_workers(runner)
    runner.call_hook('after_run')
    return metrics, tables


def _joint(evaluator: Any, extras: Mapping[str, Any]) -> ConfigDict:
    kind = 'lightvit_dense.JointEvaluator'
    return ConfigDict(type=kind, metrics=evaluator, extras=dict(extras))
