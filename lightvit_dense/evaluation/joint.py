"""Several evaluators over one pass of a data set."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR

from lightvit_dense.registry import EVALUATORS


@EVALUATORS.register_module()
class JointEvaluator(Evaluator):
    """An evaluator and further ones, whose metrics carry their names.

    A metric ``top1`` of the further evaluator ``real`` becomes ``real/top1``; one that is already
    called ``real/...`` keeps its name.

    Args:
        metrics: Config of the evaluator whose metrics keep their names; [] for none.
        extras: Configs of the further ones by name.
    """

    def __init__(self, metrics: Any, extras: Mapping[str, Any]) -> None:
        self.main = _build(metrics)
        self.extras = {name: _build(cfg) for name, cfg in extras.items()}
        everyone = [self.main, *self.extras.values()]
        super().__init__([metric for evaluator in everyone for metric in evaluator.metrics])

    @property
    def dataset_meta(self) -> dict | None:
        """What the data set tells of itself."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        for evaluator in (self.main, *self.extras.values()):
            evaluator.dataset_meta = dataset_meta

    def process(self, data_samples: Sequence[Any], data_batch: Any = None) -> None:
        """Hand a batch to all evaluators.

        Args:
            data_samples: Predictions.
            data_batch: The batch.
        """
        for evaluator in (self.main, *self.extras.values()):
            evaluator.process(data_samples=data_samples, data_batch=data_batch)

    def evaluate(self, size: int) -> dict:
        """Return the metrics of all evaluators.

        Args:
            size: Length of the data set.

        Raises:
            ValueError: If two metrics have the same name.
        """
        metrics = dict(self.main.evaluate(size))
        for name, evaluator in self.extras.items():
            for key, value in evaluator.evaluate(size).items():
                named = key if key.startswith(f'{name}/') else f'{name}/{key}'
                if named in metrics:
                    raise ValueError(f'two metrics are called {named!r}; set `prefix` of one')
                metrics[named] = value
        return metrics


def _build(cfg: Any) -> Evaluator:
    """Build an evaluator as mmengine's Runner does."""
    if isinstance(cfg, Mapping) and 'metrics' in cfg:
        return EVALUATOR.build(dict(type='Evaluator') | dict(cfg))
    return Evaluator(list(cfg) if isinstance(cfg, (list, tuple)) else cfg)
