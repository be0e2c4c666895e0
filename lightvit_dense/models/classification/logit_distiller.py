"""A teacher's scores guide the training of a classifier (DeiT, arXiv 2012.12877)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import trunc_normal_
from ..pretraining.precision import at_least_fp32
from ..pretraining.teacher import HiddenTeacher, TeacherInput


@MODELS.register_module()
class LogitDistiller(HiddenTeacher):
    """Distil a frozen classifier into an :class:`ImageClassifier`.

    ``loss = (1 - alpha) * cross-entropy with the targets + alpha * distillation``. With
    ``token='cls'`` the class token, which a head on the mean of the patches leaves free, serves as
    DeiT's distillation token: it has its own LayerNorm and linear layer, whose scores are compared
    with the teacher's; at test both heads' scores are averaged. This is how the authors of MAE-Lite
    distil while they fine-tune. The teacher sees the very images of the student, mixed and
    augmented, in its own normalisation and size. Raises ValueError if an option is out of range.

    Args:
        teacher: Config of a :class:`TimmClassifier`, or of any model of ours that has
            ``num_classes`` and gives scores before softmax.
        kind: 'hard' for cross-entropy with the teacher's decision, 'soft' for the divergence of
            both distributions, softened by ``tau``.
        alpha: Ratio of the distillation in the loss.
        tau: Temperature of 'soft'.
        token: 'cls' for the class token, ``None`` to distil into the classifier's own scores.
        teacher_input: See :class:`TeacherInput`; what the teacher itself names need not be given.
        init_std: Deviation of the linear layer's initial weights.
        teacher_dtype: See :class:`HiddenTeacher`.
    """

    def __init__(
        self,
        teacher: dict[str, Any],
        kind: str = 'hard',
        alpha: float = 0.5,
        tau: float = 1.0,
        token: str | None = 'cls',
        teacher_input: dict[str, Any] | None = None,
        init_std: float = 0.02,
        teacher_dtype: str = 'fp32',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(MODELS.build(teacher), init_cfg, teacher_dtype)
        if kind not in ('hard', 'soft'):
            raise ValueError(f"kind is 'hard' or 'soft', got {kind!r}")
        if token not in ('cls', None):
            raise ValueError(f"token is 'cls' or None, got {token!r}")
        if not 0 <= alpha <= 1 or tau <= 0:
            raise ValueError(f'alpha must lie in [0, 1] and tau above 0, got {alpha} and {tau}')
        self.kind, self.alpha, self.tau = kind, alpha, tau
        self.token, self.init_std = token, init_std
        self._teacher_input = {**_wanted_input(self.teacher), **(teacher_input or {})}

    def bind(self, backbone: Any, head: Any, preprocessor: Any = None) -> None:
        """Check that the student's parts fit the teacher, and create the second head."""
        theirs = getattr(self.teacher, 'num_classes', None)
        if theirs != head.num_classes:
            raise ValueError(
                f'distiller: the teacher has {theirs} classes, the head {head.num_classes}; take a '
                'teacher that was trained on the same classes'
            )
        self.teacher_input = TeacherInput(**self._teacher_input, preprocessor=preprocessor)
        if self.token is None:
            return
        if backbone.num_prefix_tokens < 1 or getattr(backbone, 'out_type', '') == 'featmap':
            raise ValueError(
                "distiller: token='cls' needs a backbone with cls_token=True and out_type="
                "'tokens'; set token=None to distil into the classifier's own scores"
            )
        if head.pool == 'cls':
            raise ValueError(
                "distiller: token='cls' and head.pool='cls' read the same token; set "
                "head.pool='mean' or token=None"
            )
        self.dist_norm = nn.LayerNorm(backbone.embed_dims, eps=1e-6)
        self.head_dist = nn.Linear(backbone.embed_dims, head.num_classes)
        trunc_normal_(self.head_dist.weight, self.init_std)
        nn.init.zeros_(self.head_dist.bias)

    def scores(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the scores that are compared with the teacher's [B, classes]."""
        return logits if self.token is None else self.head_dist(self.dist_norm(features[:, 0]))

    def merge(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the scores at test, the mean of both heads; see :meth:`scores`."""
        return logits if self.token is None else (logits + self.scores(features, logits)) / 2

    def teacher_logits(self, inputs: Tensor) -> Tensor:
        """Return the teacher's scores [B, classes] of the student's images [B, 3, H, W]."""
        return self.ask(self.teacher, self.teacher_input(inputs))

    def forward(
        self, inputs: Tensor, features: Tensor, logits: Tensor, loss: Tensor
    ) -> dict[str, Tensor]:
        """Return ``loss_class`` and ``loss_distill``, weighted fp32 scalars.

        Takes normalised images [B, 3, H, W], the backbone's last tokens [B, prefix+N, C], and the
        head's scores [B, classes] with their loss against the targets.
        """
        teacher, student = self.teacher_logits(inputs), self.scores(features, logits)
        with torch.autocast(inputs.device.type, enabled=False):
            distance = distillation_loss(student, teacher, self.kind, self.tau)
        return {'loss_class': (1 - self.alpha) * loss, 'loss_distill': self.alpha * distance}


def distillation_loss(student: Tensor, teacher: Tensor, kind: str, tau: float = 1.0) -> Tensor:
    """Compare scores before softmax [B, classes] as DeiT does, in fp32.

    'hard' is cross-entropy with the teacher's highest class; 'soft' the Kullback-Leibler divergence
    of the distributions softened by ``tau``, times tau² and divided by B * classes (DeiT's code;
    not the mean over images).
    """
    student, teacher = at_least_fp32(student), at_least_fp32(teacher)
    if kind == 'hard':
        return F.cross_entropy(student, teacher.argmax(-1))
    ours, theirs = ((x / tau).log_softmax(-1) for x in (student, teacher))
    return F.kl_div(ours, theirs, reduction='sum', log_target=True) * tau**2 / student.numel()


def _wanted_input(teacher: Any) -> dict[str, Any]:
    """Return size and normalisation that a teacher names, or that its preprocessor has."""
    named = getattr(teacher, 'teacher_input', None)
    if isinstance(named, dict):
        return named
    own = getattr(teacher, 'data_preprocessor', None)
    mean, std = getattr(own, 'mean', None), getattr(own, 'std', None)
    if mean is None or std is None:
        return {}
    return {'mean': mean.flatten().tolist(), 'std': std.flatten().tolist()}
