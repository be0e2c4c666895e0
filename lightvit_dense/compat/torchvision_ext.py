"""The part of ``mmcv._ext`` that Mask R-CNN needs, on torchvision's compiled C++/CUDA operators.

Loaded under the name ``mmcv._ext`` by :mod:`lightvit_dense.compat.mmcv_ops`. The functions keep the
calling convention of mmcv's extension: results are written into tensors that the caller allocated.
Every other operator of mmcv is present by name, so that ``mmcv.ops`` imports, and raises when it is
called.

On CPU everything here is deterministic. On CUDA the gradient of RoIAlign adds atomically, as mmcv's
own does, and under ``torch.use_deterministic_algorithms(True)`` it raises.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn, TypedDict

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor
from typing_extensions import Unpack

BUILD_HELP = (
    'mmcv is installed without its compiled operators; only nms and average roi_align have a '
    'substitute. Build mmcv against the installed torch (needs a C++ compiler, for GPU also nvcc): '
    '`pip install --no-build-isolation --no-cache-dir --no-binary onedl-mmcv '
    '--force-reinstall --no-deps onedl-mmcv`, with FORCE_CUDA=1 for GPU operators.'
)
_AVERAGE = 1  # mmcv's code of pool_mode='avg'; 0 is 'max'


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the places [K] of the boxes kept of [N, 4] (x1, y1, x2, y2), by falling score [N]."""
    if offset != 0:
        raise ValueError(
            f'mmcv op "nms" with offset={offset}: torchvision measures widths as x2 - x1 only. '
            f'Set offset=0 in the nms config. Otherwise: {BUILD_HELP}'
        )
    # Half precision is widened: the CPU kernel has none and no kernel has bfloat16; boxes are few.
    dtype = torch.promote_types(torch.promote_types(bboxes.dtype, scores.dtype), torch.float32)
    return torch.ops.torchvision.nms(bboxes.to(dtype), scores.to(dtype), iou_threshold)


class Pooling(TypedDict):
    """mmcv's options of RoIAlign."""

    aligned_height: int
    aligned_width: int
    spatial_scale: float
    sampling_ratio: int
    pool_mode: int
    aligned: bool


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    **options: Unpack[Pooling],
) -> None:
    """Average of bilinear samples in each bin of each region, written into ``output``.

    ``rois`` are [R, 5] as (index into the batch, x1, y1, x2, y2) in pixels of the image, ``output``
    [R, C, aligned_height, aligned_width]. The argmax buffers belong to max pooling and stay as
    they are.
    """
    output.copy_(_roi_align('roi_align_forward', input, rois, (), options))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options: Unpack[Pooling],
) -> None:
    """Gradient of :func:`roi_align_forward` by the feature map, written into ``grad_input``."""
    shape = grad_input.shape
    grad_input.copy_(_roi_align('roi_align_backward', grad_output, rois, shape, options))


def get_compiler_version() -> str:
    """Say, for environment reports, that mmcv's operators were not compiled."""
    return 'not compiled (torchvision operators)'


get_compiling_cuda_version = get_compiler_version


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Stand in for any other operator of mmcv: present by name, an error when called."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f'mmcv op "{name}" is not available: {BUILD_HELP}')

    missing.__name__ = missing.__qualname__ = name
    return missing


def _roi_align(
    name: str, features: Tensor, rois: Tensor, shape: Sequence[int], options: Pooling
) -> Tensor:
    """Call torchvision's operator; ``shape`` is that of the gradient, if one is wanted."""
    if options['pool_mode'] != _AVERAGE:
        raise NotImplementedError(
            f'mmcv op "{name}" with pool_mode="max": torchvision pools by average only. '
            f"Set pool_mode='avg' in the RoIAlign config. Otherwise: {BUILD_HELP}"
        )
    # No kernel has bfloat16; on CPU half accumulates coarsely.
    dtype = torch.promote_types(features.dtype, rois.dtype)
    if dtype != torch.float16 or not features.is_cuda:
        dtype = torch.promote_types(dtype, torch.float32)
    operators = torch.ops.torchvision
    operator = operators._roi_align_backward if shape else operators.roi_align
    sides = (options['aligned_height'], options['aligned_width'], *shape)
    numbers = (options['spatial_scale'], *sides, options['sampling_ratio'], options['aligned'])
    return operator(features.to(dtype), rois.to(dtype), *numbers)
