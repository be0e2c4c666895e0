"""What concerns all processes: compressed gradients, and the proof of equal weights."""

import hashlib

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.registry import HOOKS

COMPRESSORS = dict(fp16=default_hooks.fp16_compress_hook, bf16=default_hooks.bf16_compress_hook)


@HOOKS.register_module()
class GradientCompressionHook(Hook):
    """Halve the traffic of the gradients' all-reduce.

    With a single process there is no traffic, and the hook does nothing.

    Args:
        dtype: 'bf16', which has fp32's range, or 'fp16' for gradients under a loss scale.
    """

    def __init__(self, dtype: str = 'bf16') -> None:
        if dtype not in COMPRESSORS:
            raise ValueError(f'GradientCompressionHook: dtype={dtype!r} is none of fp16, bf16')
        self.dtype = dtype

    def before_train(self, runner: Runner) -> None:
        """Install torch's communication hook."""
        if not runner.distributed:
            runner.logger.info('One process: no gradients are sent, so none are compressed.')
            return
        if not isinstance(runner.model, DistributedDataParallel):
            kind = type(runner.model).__name__
            raise TypeError(
                f'GradientCompressionHook compresses DDP gradients, not those of {kind}'
            )
        runner.model.register_comm_hook(None, COMPRESSORS[self.dtype])


def parameter_digest(model: nn.Module) -> str:
    """Return the SHA-256 of the bytes of all parameters, in order."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        raw = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.encode())
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


@HOOKS.register_module()
class RankConsistencyHook(Hook):
    """Compare the parameters of all processes, bit for bit, at the end of training."""

    def after_train(self, runner: Runner) -> None:
        """Gather a digest from every rank and compare."""
        digests = all_gather_object(parameter_digest(unwrap(runner.model)))
        different = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if different:
            raise RuntimeError(f'the parameters of rank(s) {different} differ from those of rank 0')
        runner.logger.info(f'{len(digests)} rank(s) hold the same parameters: {digests[0][:16]}')
