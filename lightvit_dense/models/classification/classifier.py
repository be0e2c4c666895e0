"""Supervised classification: from scratch, by fine-tuning, or on a frozen backbone."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor
from typing_extensions import Self

from ...registry import MODELS


@torch.compiler.disable  # every label would become a constant of the graph
def labels_of(samples: Sequence[BaseDataElement] | None, num_classes: int) -> Tensor:
    """Collect the labels of a batch, int64 [B] on the CPU; a ValueError if one does not fit."""
    labels = getattr(samples, 'labels', None)  # of a batch that the device augments
    if labels is None and samples and all('gt_label' in sample for sample in samples):
        labels = [int(sample.gt_label) for sample in samples]
    if labels is None:
        raise ValueError(
            'classification needs samples with gt_label: take lightvit_dense.ImageNet with '
            'with_labels=True and end the pipeline with lightvit_dense.PackImage'
        )
    if not 0 <= min(labels) <= max(labels) < num_classes:
        raise ValueError(
            f'labels reach from {min(labels)} to {max(labels)}, the head has {num_classes} classes '
            f'(0..{num_classes - 1}): set model.head.num_classes to the number of classes'
        )
    return torch.tensor(labels)


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone and a linear head. Raises ValueError if the parts do not fit each other.

    Args:
        backbone: Config of the backbone; its ``init_cfg`` loads a pre-trained one.
        head: Config of a :class:`ClassificationHead` without what follows from the backbone.
        data_preprocessor: Config of the normaliser; :class:`ClassificationPreprocessor` mixes too.
        freeze_backbone: Whether the backbone stays as it is (the linear probe): no gradient, no
            drop-path, and nothing of it in the optimizer.
        distiller: Config of a :class:`LogitDistiller`, whose teacher's scores guide the training.
    """

    task = 'classification'
    one_graph = True  # see lightvit_dense.CompileHook

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
        freeze_backbone: bool = False,
        distiller: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(
            dict(
                type='lightvit_dense.ClassificationHead',
                in_channels=self.backbone.embed_dims,
                num_prefix_tokens=self.backbone.num_prefix_tokens,
            )
            | head
        )
        mixing = getattr(self.data_preprocessor, 'num_classes', self.head.num_classes)
        if mixing != self.head.num_classes:
            raise ValueError(
                f'data_preprocessor.num_classes={mixing} and head.num_classes='
                f'{self.head.num_classes} must be the same'
            )
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.backbone.requires_grad_(False).eval()
        self.distiller = None if distiller is None else MODELS.build(distiller)
        if self.distiller is not None:
            self.distiller.bind(self.backbone, self.head, self.data_preprocessor)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.head.num_classes

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Return the backbone's last output: tokens [B, prefix+N, C] or a map [B, C, H, W]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            return self.backbone(inputs)[-1]

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
        targets: Tensor | None = None,
    ) -> dict[str, Tensor] | list[BaseDataElement] | Tensor:
        """Run the model the way mmengine asks.

        'loss' reads ``gt_label`` unless there are ``targets``, ratios of the classes [B, classes]
        of mixed images; 'predict' gives samples with ``pred_score`` [classes] and ``pred_label``,
        'tensor' the scores before softmax [B, classes].
        """
        if mode == 'loss' and targets is None:
            # With the images: a copy behind the forward pass would wait for it.
            labels = labels_of(data_samples, self.head.num_classes)
            targets = labels.to(inputs.device, non_blocking=True)
        features = self.extract_feat(inputs)
        logits = self.head(features)
        if mode == 'loss':
            loss = self.head.loss(logits, targets)
            if self.distiller is None:
                return {'loss_class': loss}
            return self.distiller(inputs, features, logits, loss)
        if self.distiller is not None:
            logits = self.distiller.merge(features, logits)
        if mode == 'tensor':
            return logits
        if mode == 'predict':
            return self._predict(logits, data_samples)
        raise ValueError(f"mode is 'loss', 'predict' or 'tensor', got {mode!r}")

    @staticmethod
    def _predict(logits: Tensor, samples: list[BaseDataElement] | None) -> list[BaseDataElement]:
        samples = samples or [BaseDataElement() for _ in logits]
        scores = logits.float().softmax(-1)
        labels = scores.argmax(-1).tolist()  # one synchronisation a batch
        for sample, score, label in zip(samples, scores, labels, strict=True):
            sample.pred_score, sample.pred_label = score, label
        return samples
