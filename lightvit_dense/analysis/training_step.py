"""A training step of a config, on synthetic data: what the speed benchmarks time."""

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .synthetic import strip_checkpoints

DTYPES = {'none': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Precisions by the names of the command line."""


def build_for_speed(path: str | Path) -> Any:
    """Build the model of a config with random weights.

    Args:
        path: The config.

    Returns:
        The model in training mode; no checkpoint is read.
    """
    from mmengine.config import Config, ConfigDict
    from mmengine.registry import init_default_scope

    from lightvit_dense.registry import MODELS

    config = Config.fromfile(path)
    init_default_scope(config.get('default_scope', 'lightvit_dense'))
    torch.manual_seed(0)
    if (config.get('engine') or {}).get('activation_checkpointing'):
        config.model.backbone.with_cp = True
    model = MODELS.build(ConfigDict(strip_checkpoints(config.model.to_dict())))
    return model.train()


class TrainingStep:
    """Losses, backward pass and AdamW.

    Args:
        losses: Module whose call gives the sum of the losses for what :attr:`data` holds.
        data: Arguments of that call.
        device: Where to train.
        amp: Precision, a key of ``DTYPES``.
        fused: Whether the optimizer is fused; where not, it is torch's default.
    """

    def __init__(
        self,
        losses: nn.Module,
        data: tuple[Any, ...],
        device: torch.device,
        amp: str = 'none',
        fused: bool = True,
    ) -> None:
        self.model = losses.to(device).train()
        self.data, self.device, self.amp = data, device, amp
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=1e-5, weight_decay=0.05, fused=True if fused else None
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == 'fp16')

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the precision the step runs in."""
        return torch.autocast(self.device.type, dtype=DTYPES[self.amp], enabled=self.amp != 'none')

    def losses(self) -> Tensor:
        """Run the forward pass; returns the sum of the losses."""
        with self.autocast():
            return self.model(*self.data)

    def __call__(self) -> None:
        """Run one step."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(self.losses()).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


class SumOfLosses(nn.Module):
    """The sum of a pre-trainer's losses, as one module.

    Args:
        model: The pre-trainer.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the sum for normalised images [B, 3, H, W]."""
        losses: dict[str, Tensor] = self.model(images, mode='loss')
        return torch.stack([*losses.values()]).sum()
