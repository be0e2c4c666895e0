"""Training steps on synthetic data: what the cases of pre-training and detection time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.utils.environment import count_flops

from . import harness


def without_checkpoints(config: Any) -> Any:
    """Return a copy of a config's plain values in which no ``init_cfg`` asks for a checkpoint."""
    if isinstance(config, dict):
        return {
            key: without_checkpoints(value)
            for key, value in config.items()
            if key != 'init_cfg' or 'checkpoint' not in str(value)
        }
    if isinstance(config, (list, tuple)):
        return type(config)(without_checkpoints(item) for item in config)
    return config


def build_model(path: str | Path) -> Any:
    """Build the model of a config with random weights, in training mode."""
    from mmengine.config import Config, ConfigDict
    from mmengine.registry import init_default_scope

    from lightvit_dense.registry import MODELS

    config = Config.fromfile(path)
    init_default_scope(config.get('default_scope', 'lightvit_dense'))
    torch.manual_seed(0)
    if (config.get('engine') or {}).get('activation_checkpointing'):
        config.model.backbone.with_cp = True
    return MODELS.build(ConfigDict(without_checkpoints(config.model.to_dict()))).train()


class Loss(nn.Module):
    """A model whose call gives the sum of its losses, by ``loss_of(model, *data)``."""

    def __init__(self, model: Any, loss_of: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, *data: Any) -> Tensor:
        """Return the loss of a batch."""
        return self.loss_of(self.model, *data)


class TrainingStep:
    """Losses, backward pass and AdamW; a call runs one step.

    ``loss`` is a module whose call with ``data`` gives the sum of the losses. Without ``fused`` the
    optimizer is torch's default; without ``optimize`` gradients are thrown away.
    """

    def __init__(
        self,
        loss: nn.Module,
        data: tuple[Any, ...],
        device: torch.device | str,
        amp: str = 'none',
        fused: bool = True,
        compiled: bool = False,
        optimize: bool = True,
    ) -> None:
        self.loss, self.data, self.device = loss.to(device).train(), data, torch.device(device)
        self.amp, self.optimize = amp, optimize
        parameters = [p for p in self.loss.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=1e-5, weight_decay=0.05, fused=True if fused else None
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == 'fp16')
        self._loss = torch.compile(self.loss) if compiled else self.loss

    def backward(self, compiled: bool = True) -> None:
        """Add the gradients of the loss."""
        with harness.autocast(self.device, self.amp):
            loss = (self._loss if compiled else self.loss)(*self.data)
        self.scaler.scale(loss).backward()

    def __call__(self) -> None:
        """Run one step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.backward()
        if self.optimize:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def count_flops(self) -> int:
        """Count the arithmetic of a step, but for the optimizer's, without compiling."""
        return count_flops(lambda: self.backward(compiled=False))


STEP_COLUMNS: dict[str, harness.Column] = {
    'images/s': '{images_per_s:.4g}',
    's/step (IQR)': harness.spread(),
    'peak MiB': '{peak_mb:.0f}',
    'GFLOP/image': '{gflop_per_image:.2f}',
    'of the matmul rate': '{share:.0%}',
}
"""What tables say of a step, from a row that :func:`per_image` has completed."""


def per_image(row: dict[str, Any], batch: int) -> dict[str, Any]:
    """Add what a row of :func:`harness.compare` means for an image of the batch."""
    more = {'batch': batch, 'images_per_s': batch / row['median']}
    return row | more | {'gflop_per_image': row['gflop'] / batch}
