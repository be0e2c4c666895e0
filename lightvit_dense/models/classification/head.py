"""From a backbone's last output to class scores."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import trunc_normal_
from ..pretraining.precision import at_least_fp32

POOLS = ('mean', 'cls')


@MODELS.register_module()
class ClassificationHead(BaseModule):
    """Pooling, LayerNorm and a linear layer, with cross-entropy as the loss.

    Fine-tuning after MAE pools the patch tokens and normalises their mean (``fc_norm``), so that
    the backbone has no final norm; the first DeiT reads the class token of a backbone that has one.
    MAE's linear probe (arXiv 2111.06377, appendix A.1) standardises the features over the batch:
    ``pool='cls', norm=False, batch_norm=True, init_std=0.01``, above a backbone with a final norm.
    Raises ValueError if an option is out of range, or there is no class token to read.

    Args:
        num_classes: Number of classes.
        in_channels: Width of the tokens.
        num_prefix_tokens: Tokens before those of the patches.
        pool: 'mean' of patch tokens or positions of a map, or 'cls' for the class token.
        norm: Whether a LayerNorm follows the pooling.
        batch_norm: Whether a BatchNorm without learned scale and shift follows. Its statistics are
            each process's own: ``SyncBuffersHook`` synchronises them before an evaluation.
        dropout: Dropout before the linear layer.
        label_smoothing: Ratio of the target that is spread over all classes.
        init_std: Deviation of the linear layer's initial weights.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_prefix_tokens: int = 0,
        pool: str = 'mean',
        norm: bool = True,
        batch_norm: bool = False,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes < 2:
            raise ValueError(f'num_classes must be at least 2, got {num_classes}')
        if pool not in POOLS:
            raise ValueError(f'pool must be one of {POOLS}, got {pool!r}')
        if pool == 'cls' and num_prefix_tokens < 1:
            raise ValueError("pool='cls' needs a backbone with cls_token=True; set pool='mean'")
        if not 0 <= label_smoothing < 1 or not 0 <= dropout < 1:
            raise ValueError(
                'label_smoothing and dropout must lie in [0, 1), '
                f'got {label_smoothing} and {dropout}'
            )
        self.num_classes, self.pool = num_classes, pool
        self.num_prefix_tokens, self.label_smoothing = num_prefix_tokens, label_smoothing
        self.fc_norm = nn.LayerNorm(in_channels, eps=1e-6) if norm else nn.Identity()
        self.bn = (
            nn.BatchNorm1d(in_channels, affine=False, eps=1e-6) if batch_norm else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)
        trunc_normal_(self.fc.weight, init_std)
        nn.init.zeros_(self.fc.bias)

    def pooled(self, x: Tensor) -> Tensor:
        """Reduce tokens [B, prefix+N, C] or a map [B, C, rows, columns] to a vector [B, C]."""
        if x.ndim == 4:
            if self.pool == 'cls':
                raise ValueError("pool='cls' needs tokens, the backbone gives a map")
            return x.mean((2, 3))
        return x[:, 0] if self.pool == 'cls' else x[:, self.num_prefix_tokens :].mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores before softmax [B, classes] of the backbone's last output."""
        return self.fc(self.dropout(self.bn(self.fc_norm(self.pooled(x)))))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the smoothed cross-entropy (fp32) with labels [B] or ratios [B, classes]."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = at_least_fp32(logits)
            if targets.is_floating_point():
                targets = targets.to(logits.dtype)
            return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
