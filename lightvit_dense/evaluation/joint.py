"""Several evaluators over one pass of a data set, and the tables that metrics leave."""

from collections.abc import Mapping
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR

from lightvit_dense.registry import EVALUATORS


def build_evaluator(cfg: Any) -> Evaluator:
    """Build an evaluator as mmengine's Runner does."""
    if isinstance(cfg, Mapping) and 'metrics' in cfg:
        return EVALUATOR.build(dict(type='Evaluator') | dict(cfg))
    return Evaluator(list(cfg) if isinstance(cfg, (list, tuple)) else cfg)


@EVALUATORS.register_module()
class JointEvaluator(Evaluator):
    """The evaluator ``metrics``, and ``extras`` by name, which begins their figures: real/top1."""

    def __init__(self, metrics: Any, extras: Mapping[str, Any]) -> None:
        super().__init__(build_evaluator(metrics).metrics)
        self.owners = [''] * len(self.metrics)
        for name, cfg in extras.items():
            for metric in build_evaluator(cfg).metrics:
                if not f'{metric.prefix}/'.startswith(f'{name}/'):
                    metric.prefix = f'{name}/{metric.prefix}' if metric.prefix else name
                self.metrics.append(metric)
                self.owners.append(f'{name}/')


def class_tables(evaluator: Evaluator) -> dict[str, list[dict]]:
    """Collect metrics' tables of classes, by class name behind the extra test's name."""
    owners = getattr(evaluator, 'owners', [''] * len(evaluator.metrics))
    return {
        f'{owner}{type(metric).__name__}': metric.class_table
        for owner, metric in zip(owners, evaluator.metrics, strict=True)
        if hasattr(metric, 'class_table')
    }
