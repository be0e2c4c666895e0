"""SEED: a small network learns from a large one how alike images are."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from .base import Pretrainer
from .contrast import gather_keys
from .embedding import mean_feature
from .precision import at_least_fp32
from .teacher import HiddenTeacher
from .views import feature_spread


def similarity_loss(
    student: Tensor, teacher: Tensor, queue: Tensor, student_tau: float, teacher_tau: float
) -> Tensor:
    """Return the cross-entropy of two distributions over images (SEED, equations 2 to 5).

    An image's distribution is over itself, as the teacher sees it, and all of the queue. Features
    [B, C], the teacher's of the same images, and those of the queue [K, C] are L2-normalised.
    """

    def similarities(features: Tensor) -> Tensor:
        own = (features * teacher).sum(1, keepdim=True)
        return torch.cat([own, features @ queue.T], dim=1)  # [B, 1+K]

    targets = (similarities(teacher) / teacher_tau).softmax(1)
    return F.cross_entropy(similarities(student) / student_tau, targets)


@MODELS.register_module()
class SEED(Pretrainer):
    """Self-supervised distillation (Fang et al. 2021, arXiv 2101.04731).

    Student and teacher see the same view. The teacher's features of past images stand in a queue,
    which takes in the batch of all processes after the loss and lets the oldest go. There is no
    momentum encoder. Queue and position are buffers, so that a resumed run goes on exactly. Raises
    ValueError if a temperature or the size of the queue is not positive.

    Args:
        backbone: Config of the student.
        teacher: Config of the frozen network, images to vectors of ``embed_dims``, e.g. an
            :class:`EmbeddingTeacher`; see :class:`HiddenTeacher`.
        queue_size: Features in the queue, K.
        hidden: Width within the student's head of two linear layers; ``None`` for the backbone's.
        dropout: Dropout before that head.
        student_temperature: τ of the student.
        teacher_temperature: τ of the teacher; the paper's 0.01 (its code defaults to 1e-4).
        teacher_dtype: See :class:`HiddenTeacher`.
        data_preprocessor: Config of the normaliser of images, which the teacher shares.
    """

    queue: Tensor
    position: Tensor

    def __init__(
        self,
        backbone: dict[str, Any],
        teacher: dict[str, Any],
        queue_size: int = 65536,
        hidden: int | None = None,
        dropout: float = 0.0,
        student_temperature: float = 0.2,
        teacher_temperature: float = 0.01,
        teacher_dtype: str = 'fp32',
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone, None, data_preprocessor, init_cfg)
        if min(student_temperature, teacher_temperature, queue_size) <= 0:
            raise ValueError(
                'SEED: temperatures and queue_size must be positive, got '
                f'{student_temperature}, {teacher_temperature} and {queue_size}'
            )
        self.taus = (student_temperature, teacher_temperature)
        self.guide = HiddenTeacher(MODELS.build(teacher), teacher_dtype=teacher_dtype)
        width, channels = self.backbone.embed_dims, self.guide.teacher.embed_dims
        hidden = hidden or width
        self.projector = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        queue = F.normalize(torch.randn(queue_size, channels), dim=1)
        self.register_buffer('queue', queue)
        self.register_buffer('position', torch.zeros((), dtype=torch.long))

    def loss(self, inputs: Tensor, data_samples: Any = None) -> dict[str, Tensor]:
        """Return ``loss_similarity`` and ``feature_spread`` (0 is collapse); the queue moves on."""
        features = mean_feature(self.backbone, inputs)
        student = self.projector(features)
        teacher = self.guide.ask(self.guide.teacher, inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            student, teacher = (F.normalize(at_least_fp32(x), dim=1) for x in (student, teacher))
            # A copy, because the queue changes before the gradient is computed.
            loss = similarity_loss(student, teacher, self.queue.clone(), *self.taus)
        if self.training:
            self.enqueue(teacher)
        return {'loss_similarity': loss, 'feature_spread': feature_spread(features)}

    @torch.no_grad()
    def enqueue(self, features: Tensor) -> None:
        """Put the features [B, C] of all processes, in the order of ranks, where the oldest are."""
        features = gather_keys(features)
        count, size = len(features), len(self.queue)
        if count > size:
            raise ValueError(
                f'SEED: {count} images a step do not fit into queue_size={size}; give a larger '
                'queue or a smaller batch'
            )
        places = (self.position + torch.arange(count, device=features.device)) % size
        self.queue[places] = features.to(self.queue.dtype)
        self.position.add_(count).remainder_(size)
