"""Stop when the loss is no longer a number."""

import math
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS


class NonFiniteLossError(UserError):
    """A loss became infinite or not a number; the message says when, where and which term."""

    exit_status = 1


@HOOKS.register_module()
class NonFiniteLossGuard(Hook):
    """Stop at the first loss that is not finite, naming iteration, term and images.

    It reads the numbers that the log has already fetched from the device for this iteration, so it
    adds no synchronisation. It acts before checkpoints are written: the last one on disk is good.

    Args:
        max_images: Most image paths that the message lists.
    """

    # After RuntimeInfoHook ('VERY_HIGH') has put the losses into the message hub.
    priority = 'HIGH'

    def __init__(self, max_images: int = 16) -> None:
        if max_images < 1:
            raise ValueError(f'NonFiniteLossGuard: max_images={max_images} must be positive')
        self.max_images = max_images

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Check every loss of the iteration.

        Raises:
            NonFiniteLossError: When one is not finite.
        """
        scalars = runner.message_hub.log_scalars
        bad = {}
        for name, value in (outputs or {}).items():
            buffer = scalars.get(f'train/{name}')
            number = float(buffer.current() if buffer is not None else value)
            if 'loss' in name and not math.isfinite(number):
                bad[name] = number
        if not bad:
            return
        # The total is not finite whenever a term is; it is named only when it stands alone.
        terms = {name: value for name, value in bad.items() if name != 'loss'} or bad
        listed = ', '.join(f'{name} = {value}' for name, value in terms.items())
        raise NonFiniteLossError(
            f'training stopped: {listed} at iteration {runner.iter + 1} (rank {get_rank()}).\n'
            f'Batch: {self._describe(data_batch)}\n'
            f'No checkpoint was written after it; those in {runner.work_dir} are from before. '
            'Lower the learning rate, clip gradients (optim_wrapper.clip_grad), use bf16 instead '
            'of fp16, or look at these images, then continue with --resume.'
        )

    def _describe(self, data_batch: Any) -> str:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        names = [image_name(sample) for sample in samples or []]
        if not names:
            return 'its samples carry no image paths'
        more = f' and {len(names) - self.max_images} more' if len(names) > self.max_images else ''
        return ', '.join(names[: self.max_images]) + more


def image_name(sample: Any) -> str:
    """Return what a data sample says about where its image came from.

    Args:
        sample: A data sample, ideally with ``img_path`` among its meta information.
    """
    meta = getattr(sample, 'metainfo', {})
    for key in ('img_path', 'filename', 'img_id', 'sample_idx'):
        if key in meta:
            return str(meta[key]) if key in ('img_path', 'filename') else f'{key} {meta[key]}'
    return '(unnamed image)'
