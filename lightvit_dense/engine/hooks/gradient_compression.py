"""Send gradients between processes in half precision."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from lightvit_dense.registry import HOOKS

COMPRESSORS = dict(fp16=default_hooks.fp16_compress_hook, bf16=default_hooks.bf16_compress_hook)


@HOOKS.register_module()
class GradientCompressionHook(Hook):
    """Halve the traffic of the gradients' all-reduce.

    With a single process there is no traffic, and the hook does nothing.

    Args:
        dtype: 'fp16' or 'bf16'.
    """

    def __init__(self, dtype: str = 'fp16') -> None:
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
