"""Stop when losses, gradients or weights are no longer numbers."""

import math
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner

from lightvit_dense.engine.unwrap import unwrap
from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS
from lightvit_dense.utils.finite import non_finite_entries


class NonFiniteLossError(UserError):
    """A loss, gradient or weight is infinite or not a number; the message says when and where."""

    exit_status = 1


@HOOKS.register_module()
class NonFiniteLossGuard(Hook):
    """Stop at the first loss or gradient that is not finite, naming iteration, term and images.

    It reads the numbers that the log has already fetched from the device for this iteration, so it
    adds no synchronisation. It acts before checkpoints are written, and looks through the weights
    of each before it is: the last one on disk is good.

    Args:
        max_images: Most image paths that the message lists.
        gradients: Whether to check the gradients' norm, which is there where the config clips
            gradients (``optim_wrapper.clip_grad``). Under a loss scale (fp16) it is not looked at:
            there a step with infinite gradients is left out, which is how the scale is found.
    """

    # After RuntimeInfoHook ('VERY_HIGH') has put the losses into the message hub.
    priority = 'HIGH'

    def __init__(self, max_images: int = 16, gradients: bool = True) -> None:
        if max_images < 1:
            raise ValueError(f'NonFiniteLossGuard: max_images={max_images} must be positive')
        self.max_images = max_images
        self.gradients = gradients

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None
    ) -> None:
        """Check every loss of the iteration, and the norm of its gradients."""
        scalars = runner.message_hub.log_scalars
        bad = {}
        for name, value in (outputs or {}).items():
            buffer = scalars.get(f'train/{name}')
            number = float(buffer.current() if buffer is not None else value)
            if 'loss' in name and not math.isfinite(number):
                bad[name] = number
        # The total is not finite whenever a term is; it is named only when it stands alone.
        terms = {name: value for name, value in bad.items() if name != 'loss'} or bad
        if not terms and self.gradients:
            terms = self._bad_gradients(runner)
        if terms:
            listed = ', '.join(f'{name} = {value}' for name, value in terms.items())
            raise NonFiniteLossError(
                f'training stopped: {listed} at iteration {runner.iter + 1} (rank {get_rank()}).\n'
                f'Batch: {self._describe(data_batch)}\n'
                f'No checkpoint was written after it; those in {runner.work_dir} are from before. '
                'Lower the learning rate, clip gradients (optim_wrapper.clip_grad), use bf16 '
                'instead of fp16, or look at these images, then continue with --resume.'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Look through what is going to be written."""
        parameters = {name for name, _ in unwrap(runner.model).named_parameters()}
        bad = non_finite_entries(checkpoint.get('state_dict', {}), parameters)
        if bad:
            more = f', ... ({len(bad) - 4} more)' if len(bad) > 4 else ''
            raise NonFiniteLossError(
                f'training stopped: {", ".join(bad[:4])}{more} not finite after iteration '
                f'{runner.iter + 1} (rank {get_rank()}).\nThe checkpoint was not written; those in '
                f'{runner.work_dir} are from before. Lower the learning rate or clip gradients '
                '(optim_wrapper.clip_grad), then continue with --resume.'
            )

    @staticmethod
    def _bad_gradients(runner: Runner) -> dict[str, float]:
        """Return the gradients' norm by its name where it is known and not finite."""
        wrappers = runner.optim_wrapper
        found = {}
        for wrapper in wrappers.values() if hasattr(wrappers, 'values') else [wrappers]:
            name = getattr(wrapper, 'grad_name', 'grad_norm')
            buffer = runner.message_hub.log_scalars.get(f'train/{name}')
            scaler = getattr(wrapper, 'loss_scaler', None)
            if buffer is None or (scaler is not None and scaler.is_enabled()):
                continue
            if not math.isfinite(buffer.current()):
                found[name] = float(buffer.current())
        return found

    def _describe(self, data_batch: Any) -> str:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        names = [image_name(sample) for sample in samples or []]
        if not names:
            return 'its samples carry no image paths'
        more = f' and {len(names) - self.max_images} more' if len(names) > self.max_images else ''
        return ', '.join(names[: self.max_images]) + more


def image_name(sample: Any) -> str:
    """Return what a data sample says about where its image came from."""
    meta = getattr(sample, 'metainfo', {})
    for key in ('img_path', 'filename', 'img_id', 'sample_idx'):
        if key in meta:
            return str(meta[key]) if key in ('img_path', 'filename') else f'{key} {meta[key]}'
    return '(unnamed image)'
