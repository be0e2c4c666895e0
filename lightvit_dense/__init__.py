"""Lightweight vision transformers: pre-training and dense downstream benchmarks."""

from typing import TYPE_CHECKING, Any

from lightvit_dense.compat.mmcv_ops import install as _install_mmcv_ops

if TYPE_CHECKING:
    from lightvit_dense.apis.loading import load

__all__ = ['load']
__version__ = '0.1.0'

_install_mmcv_ops()


def __getattr__(name: str) -> Any:
    # Loading needs all tasks; importing the package shall not.
    if name == 'load':
        from lightvit_dense.apis.loading import load

        return load
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
