"""A frozen network that gives an image one vector, as self-supervised contrast trained it."""

import logging
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS, WEIGHT_INITIALIZERS

# The name of the head in the files of each method, and its layers.
HEADS = {'mocov2': 'fc.', 'swav': 'projection_head.'}


def mean_feature(backbone: Any, inputs: Tensor) -> Tensor:
    """Return the mean [B, C] of a backbone's last map or of its patch tokens."""
    x = backbone(inputs)[-1]
    return x.mean((2, 3)) if x.ndim == 4 else x[:, backbone.num_prefix_tokens :].mean(1)


@MODELS.register_module()
class EmbeddingTeacher(BaseModule):
    """A backbone, the mean of its last output, and the projection head that it was trained with.

    Raises ValueError if the head is unknown, or would stay random beside a loaded backbone.

    Args:
        backbone: Config of the backbone.
        head: 'mocov2' for two linear layers with ReLU between them, 'swav' for the same with a
            BatchNorm before the ReLU, ``None`` to give the mean itself.
        hidden: Width within the head; ``None`` for the backbone's.
        out_channels: Width behind the head.
        checkpoint: File of MoCo-v2's or SwAV's code with the backbone by timm's (torchvision's)
            names and the head. A backbone alone is named by its own ``init_cfg``.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        head: str | None = None,
        hidden: int | None = None,
        out_channels: int = 128,
        checkpoint: str | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if head is not None and head not in HEADS:
            raise ValueError(f'head is one of {(*HEADS, None)}, got {head!r}')
        if head and not checkpoint and backbone.get('init_cfg'):
            raise ValueError(
                f'head={head!r} would stay random, because init_cfg loads the backbone alone: name '
                'a file with both by checkpoint, or set head=None to follow the backbone itself'
            )
        self.backbone = MODELS.build(backbone)
        self.kind, self.checkpoint = head, checkpoint
        width = self.backbone.embed_dims
        hidden = hidden or width
        norm = [nn.BatchNorm1d(hidden)] if head == 'swav' else []
        layers = [nn.Linear(width, hidden), *norm, nn.ReLU(), nn.Linear(hidden, out_channels)]
        self.head = nn.Sequential(*(layers if head else []))
        self.embed_dims: int = out_channels if head else width

    def init_weights(self) -> None:
        """Load the checkpoint; a CheckpointError if it does not fit, head included."""
        super().init_weights()
        if self.checkpoint:
            parts = {'': 'backbone'} | ({HEADS[self.kind]: 'head'} if self.kind else {})
            load = dict(
                type='lightvit_dense.EmbeddingWeights', checkpoint=self.checkpoint, parts=parts
            )
            WEIGHT_INITIALIZERS.build(load)(self)
        elif not self.backbone.init_cfg:
            print_log(
                'EmbeddingTeacher has random weights: name its file by checkpoint',
                logger='current',
                level=logging.WARNING,
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return one vector [B, C] of each image [B, 3, H, W]."""
        return self.head(mean_feature(self.backbone, inputs))
