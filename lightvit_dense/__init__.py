"""Lightweight vision transformers: pre-training and dense downstream benchmarks."""

from lightvit_dense.compat.mmcv_ops import install as _install_mmcv_ops

__version__ = '0.1.0'

_install_mmcv_ops()
