"""Further tests of the same model: ``extra_tests`` of a config.

``extra_tests = dict(real=dict(evaluator=...), v2=dict(dataloader=..., evaluator=...))``: an entry
without a data loader evaluates the predictions of the main test too; one with a data loader makes
another pass. The model is built and loaded once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from lightvit_dense.apis.configs import name_of, stop_workers
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.registry import LOOPS

ALL = 'all'


@LOOPS.register_module()
class ConsecutiveTestLoop(BaseLoop):
    """Several tests of one model, one after the other; to hooks it is the loop that is running.

    All are built first, so that bad data of one is reported before any runs. ``loop`` is the
    config of a test loop, ``others`` are ``dict(dataloader=..., evaluator=...)`` of further tests.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        evaluator: Any,
        loop: Mapping[str, Any],
        others: Sequence[Mapping[str, Any]],
    ) -> None:
        settings = dict(type='TestLoop') | dict(loop)
        passes = [*others, dict(dataloader=dataloader, evaluator=evaluator)]
        *further, main = [runner.build_test_loop(settings | dict(one)) for one in passes]
        self.loops: list[Any] = [main, *further]  # the visualizer knows the classes of the last
        self._current = self.loops[0]
        super().__init__(runner, self._current.dataloader)

    def __getattr__(self, name: str) -> Any:
        # Hooks ask for `evaluator` and whatever else the loop that is running has.
        if name in ('_current', 'loops'):
            raise AttributeError(name)
        return getattr(self._current, name)

    def run(self) -> dict[str, float]:
        """Run all tests; returns the metrics of all."""
        metrics: dict[str, float] = {}
        for loop in self.loops:
            self._current, self.dataloader = loop, loop.dataloader
            metrics |= loop.run()
            stop_workers(loop)
        return metrics


def choose_extras(cfg: Config, names: Sequence[str]) -> dict[str, ConfigDict]:
    """Return the extra tests that are asked for; an entry that is None counts as absent."""
    known = {name: entry for name, entry in (cfg.get('extra_tests') or {}).items() if entry}
    for name in names:
        if name not in (*known, ALL) or not known:
            listed = f'it has {", ".join(known)}' if known else 'it has none (`extra_tests`)'
            raise UserError(
                f'--extra {name}: {name_of(cfg)} has no such test; {listed}.'
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


def add_extra_tests(cfg: Config, extras: Mapping[str, Mapping]) -> None:
    """Make a config, changed in place, run what :func:`choose_extras` returned, too."""
    evaluators = {name: entry['evaluator'] for name, entry in extras.items()}
    shared = {n: e for n, e in evaluators.items() if not extras[n].get('dataloader')}
    if shared:
        cfg.test_evaluator = _joint(cfg.test_evaluator, shared)
    others = [
        dict(dataloader=entry['dataloader'], evaluator=_joint([], {name: evaluators[name]}))
        for name, entry in extras.items()
        if entry.get('dataloader')
    ]
    if others:
        kind = 'lightvit_dense.ConsecutiveTestLoop'
        cfg.test_cfg = ConfigDict(type=kind, loop=cfg.test_cfg, others=others)


def _joint(evaluator: Any, extras: Mapping[str, Any]) -> ConfigDict:
    kind = 'lightvit_dense.JointEvaluator'
    return ConfigDict(type=kind, metrics=evaluator, extras=dict(extras))
