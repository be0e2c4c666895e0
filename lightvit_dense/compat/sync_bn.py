"""Synchronised batch normalisation of processes without a GPU.

Symptom, for a model with ``norm_cfg=dict(type='SyncBN')`` under torchrun on a machine without a
GPU: ``ValueError: SyncBatchNorm layers only work with GPU modules``. torch has the layer as CUDA
kernels only.

Cure: on the CPU compute the same statistics with two all-reduces of gloo. The wrapper
:class:`lightvit_dense.compat.DistributedDataParallel` does so for models that lie on the CPU.
"""

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch import distributed as torch_dist
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class CPUSyncBatchNorm(_BatchNorm):
    """``SyncBatchNorm`` on the CPU; no subclass of it, which torch's wrapper would refuse."""

    process_group: torch_dist.ProcessGroup | None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, *] over all but C, of all processes while training."""
        group = self.process_group
        together = torch_dist.is_initialized() and torch_dist.get_world_size(group) > 1
        if not self.training or not together:
            return super().forward(x)
        self._check_input_dim(x)
        group = group or torch_dist.group.WORLD
        axes = [axis for axis in range(x.ndim) if axis != 1]
        count = x.new_tensor([x.numel() // x.shape[1]])
        found = all_reduce(torch.cat([x.sum(axes), count]), group=group)
        total = found[-1].detach()
        mean = found[:-1] / total
        centred = x - _along(mean, x)
        variance = all_reduce(centred.square().sum(axes), group=group) / total
        self._follow(mean.detach(), variance.detach(), total)
        normal = centred * _along((variance + self.eps).rsqrt(), x)
        if not self.affine:
            return normal
        return torch.addcmul(_along(self.bias, x), normal, _along(self.weight, x))

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f'batch normalisation needs [B, C, ...], got {tuple(x.shape)}')

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Move the running statistics towards those of the step, variance without bias."""
        if not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        step = self.momentum
        if step is None:
            step = 1 / int(self.num_batches_tracked)  # type: ignore[arg-type]
        self.running_mean.lerp_(mean, step)  # type: ignore[union-attr]
        self.running_var.lerp_(variance * total / (total - 1), step)  # type: ignore[union-attr]


def _along(values: Tensor, x: Tensor) -> Tensor:
    """View [C] so that it broadcasts over [B, C, *]."""
    return values.reshape(1, -1, *[1] * (x.ndim - 2))


def synchronise_on_cpu(model: nn.Module) -> int:
    """Let the ``SyncBatchNorm`` layers that lie on the CPU compute there; return their number."""
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.SyncBatchNorm)  # mmcv makes a subclass for input checks
        and all(tensor.device.type == 'cpu' for tensor in module.state_dict().values())
    ]
    for layer in layers:
        layer.__class__ = CPUSyncBatchNorm  # type: ignore[assignment]
    if layers:
        print_log(
            f'{len(layers)} SyncBatchNorm layers are on the CPU, for which torch has none: their '
            'statistics are exchanged by gloo, which is slow.',
            logger='current',
        )
    return len(layers)
