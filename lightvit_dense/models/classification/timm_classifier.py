"""Any classifier of timm, as a teacher of scores."""

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from ...registry import MODELS, WEIGHT_INITIALIZERS
from ..timm_models import create_timm_model


@MODELS.register_module()
class TimmClassifier(BaseModule):
    """A classifier of timm by its name there, such as the RegNetY-160 that taught DeiT.

    Raises ValueError if timm does not know the name, both sources of weights are given, or timm's
    weights cannot be fetched.

    Args:
        name: timm's name, with or without the tag of its weights.
        checkpoint: Local file with timm's or the authors' names; ``None`` for random weights.
        pretrained: Whether timm fetches its own weights (from the network or its cache).
        num_classes: Number of classes; ``None`` for the one that timm gives the model.
        img_size: Side of its images; ``None`` for the student's, or timm's where that is fixed.
    """

    task = 'classification'

    def __init__(
        self,
        name: str,
        checkpoint: str | None = None,
        pretrained: bool = False,
        num_classes: int | None = None,
        img_size: int | Sequence[int] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if checkpoint and pretrained:
            raise ValueError(f'{name}: give checkpoint or pretrained=True, not both')
        options = {} if num_classes is None else {'num_classes': num_classes}
        self.model: Any = create_timm_model(name, pretrained, 'checkpoint', **options)
        self.name, self.checkpoint, self.pretrained = name, checkpoint, pretrained
        self.num_classes = int(self.model.num_classes)
        self.img_size = img_size

    @property
    def teacher_input(self) -> dict[str, Any]:
        """Size and normalisation (of pixels in 0..255) that the weights expect."""
        known = self.model.pretrained_cfg
        size = self.img_size
        if size is None and known.get('fixed_input_size'):
            size = tuple(known['input_size'][-2:])
        return {
            'size': size,
            'mean': [255 * value for value in known['mean']],
            'std': [255 * value for value in known['std']],
        }

    def init_weights(self) -> None:
        """Load the checkpoint; a CheckpointError if it does not fit, head included."""
        if self.checkpoint:
            load = dict(
                type='lightvit_dense.TimmWeights',
                checkpoint=self.checkpoint,
                name=self.name,
                with_head=True,
            )
            WEIGHT_INITIALIZERS.build(load)(self.model)
        elif not self.pretrained:
            print_log(
                f'{self.name} has random weights: name its file by checkpoint',
                logger='current',
                level=logging.WARNING,
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return scores before softmax [B, classes]; of two heads the mean, as timm does."""
        return self.model(inputs)
