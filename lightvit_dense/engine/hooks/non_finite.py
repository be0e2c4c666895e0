"""Stop when losses, gradients or weights are no longer numbers."""

import math
from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from lightvit_dense.compat.message_hub import late_scalars
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

    Numbers are read one iteration late, when they have reached the host, so that the device never
    waits for it. All are read before a checkpoint is written, and its weights are looked through:
    the last one on disk is good.

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
        # What is not checked yet: names of losses, number of the iteration, samples.
        self._unchecked: tuple[list[str], int, Any] | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None
    ) -> None:
        """Check the losses of the iteration before, and the norm of its gradients."""
        self._check(runner, late_scalars(runner.message_hub))
        names = [name for name in outputs or {} if 'loss' in name]
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        self._unchecked = names, runner.iter + 1, samples

    def before_val(self, runner: Runner) -> None:
        """Check the last iteration."""
        self._check(runner, runner.message_hub.log_scalars)

    after_train = before_val

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check the last iteration, and look through what is going to be written."""
        self.before_val(runner)
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

    def _check(self, runner: Runner, scalars: Mapping[str, HistoryBuffer]) -> None:
        """Check the iteration that is last in the histories."""
        if self._unchecked is None:
            return
        (names, iteration, samples), self._unchecked = self._unchecked, None
        values = {name: float(scalars[f'train/{name}'].current()) for name in names}
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        # The total is not finite whenever a term is; it is named only when it stands alone.
        terms = {name: value for name, value in bad.items() if name != 'loss'} or bad
        if not terms and self.gradients:
            terms = self._bad_gradients(runner, scalars)
        if terms:
            listed = ', '.join(f'{name} = {value}' for name, value in terms.items())
            raise NonFiniteLossError(
                f'training stopped: {listed} at iteration {iteration} (rank {get_rank()}).\n'
                f'Batch: {self._describe(samples)}\n'
                f'No checkpoint was written after it; those in {runner.work_dir} are from before. '
                'Lower the learning rate, clip gradients (optim_wrapper.clip_grad), use bf16 '
                'instead of fp16, or look at these images, then continue with --resume.'
            )

    @staticmethod
    def _bad_gradients(runner: Runner, scalars: Mapping[str, HistoryBuffer]) -> dict[str, float]:
        """Return the gradients' norm by its name where it is known and not finite."""
        wrappers = runner.optim_wrapper
        found = {}
        for wrapper in wrappers.values() if hasattr(wrappers, 'values') else [wrappers]:
            name = getattr(wrapper, 'grad_name', 'grad_norm')
            buffer = scalars.get(f'train/{name}')
            scaler = getattr(wrapper, 'loss_scaler', None)
            scaled = scaler is not None and scaler.is_enabled()
            if scaled or buffer is None or not len(buffer.data[0]):
                continue
            if not math.isfinite(buffer.current()):
                found[name] = float(buffer.current())
        return found

    def _describe(self, samples: Any) -> str:
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
