"""The benchmark suite: initialisations times tasks, run where results are missing, then tables."""

from .collect import collect
from .plan import SuitePlan
from .runner import run_suite
from .spec import Analysis, Init, Metric, Pretrain, Suite, Task, read_suite

__all__ = [
    'Analysis',
    'Init',
    'Metric',
    'Pretrain',
    'Suite',
    'SuitePlan',
    'Task',
    'collect',
    'read_suite',
    'run_suite',
]
