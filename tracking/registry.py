"""Child registries of mmengine's, scope ``tracking``, filled by importing :mod:`tracking`."""

from mmengine import registry as root
from mmengine.registry import Registry

from lightvit_dense.registry import GRAPHS as PARENT

SCOPE = 'tracking'


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(
        name, parent=parent, scope=SCOPE, locations=[f'tracking.{path}' for path in locations]
    )


MODELS = _child('model', root.MODELS, 'models')
DATASETS = _child('dataset', root.DATASETS, 'datasets', 'sampling')
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'sampling')
LOOPS = _child('loop', root.LOOPS, 'engine')
HOOKS = _child('hook', root.HOOKS, 'engine', 'visualization')
METRICS = _child('metric', root.METRICS, 'evaluation')
INFERENCERS = _child('inferencer', root.INFERENCERS, 'runtime')
GRAPHS = Registry('graph', parent=PARENT, scope=SCOPE, locations=['tracking.deploy'])
