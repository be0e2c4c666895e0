"""What the outside world breaks, one file a break, each naming the symptom it cures.

Importing this package costs nothing: modules that need torch or mmengine are loaded when one of
their names is first used.
"""

from importlib import import_module
from typing import Any

from lightvit_dense.compat.mmcv_ops import install as install_mmcv_ops
from lightvit_dense.compat.mmseg_configs import install as install_mmseg_configs


def __getattr__(name: str) -> Any:
    if name in ('DistributedDataParallel', 'finish_distributed', 'init_distributed'):
        return getattr(import_module('lightvit_dense.compat.distributed'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
