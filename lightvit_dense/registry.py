"""Child registries of mmengine's, scope ``lightvit_dense``.

Each registry knows the module that fills it (``locations``), so ``type='lightvit_dense.X'`` builds
without any ``custom_imports`` once :mod:`lightvit_dense` is imported. Unknown names fall through to
mmengine's root registries.
"""

from importlib import import_module
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'lightvit_dense'


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(
        name, parent=parent, scope=SCOPE, locations=[f'lightvit_dense.{path}' for path in locations]
    )


MODELS = _child('model', root.MODELS, 'models')
WEIGHT_INITIALIZERS = _child('weight initializer', root.WEIGHT_INITIALIZERS, 'checkpoints')
MODEL_WRAPPERS = _child('model_wrapper', root.MODEL_WRAPPERS, 'compat.distributed')
TASK_UTILS = _child('task util', root.TASK_UTILS, 'models')

DATASETS = _child('dataset', root.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'datasets')
FUNCTIONS = _child('function', root.FUNCTIONS, 'datasets')

HOOKS = _child('hook', root.HOOKS, 'engine')
LOOPS = _child('loop', root.LOOPS, 'engine')
RUNNERS = _child('runner', root.RUNNERS, 'engine')
OPTIMIZERS = _child('optimizer', root.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child('optim wrapper', root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine'
)
PARAM_SCHEDULERS = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'engine')
LOG_PROCESSORS = _child('log processor', root.LOG_PROCESSORS, 'engine')

EVALUATORS = _child('evaluator', root.EVALUATOR, 'evaluation')
METRICS = _child('metric', root.METRICS, 'evaluation')
VISUALIZERS = _child('visualizer', root.VISUALIZERS, 'visualization')
INFERENCERS = _child('inferencer', root.INFERENCERS, 'apis')
GRAPHS = Registry('graph', scope=SCOPE, locations=['lightvit_dense.deploy'])


def register_late(registry: Registry, name: str, location: str) -> None:
    """Register a class whose module is imported, and registers it by force, when first built."""

    def load() -> type:
        return getattr(import_module(f'lightvit_dense.{location}'), name)

    def build(*args: Any, **kwargs: Any) -> Any:
        return load()(*args, **kwargs)

    build.load = load  # type: ignore[attr-defined]
    registry.register_module(name=name, module=build)


def loaded_class(registered: Any) -> Any:
    """Return the class that :func:`register_late` stands in for; anything else as it is."""
    load = None if isinstance(registered, type) else getattr(registered, 'load', None)
    return registered if load is None else load()
