"""The loss of DINO, with its centre."""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from .precision import at_least_fp32


class DINOLoss(nn.Module):
    """Cross-entropy between a centred, sharpened teacher and a student (DINO, equations 2 and 4).

    The mean of the teacher's outputs over the batches of all processes is kept in the buffer
    ``center``; it moves after each call in training mode. ``teacher_temperature`` is a plain
    attribute, so that hooks can schedule it.
    """

    center: Tensor

    def __init__(
        self,
        out_channels: int,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        center_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        if min(student_temperature, teacher_temperature) <= 0 or not 0 <= center_momentum <= 1:
            raise ValueError(
                'DINOLoss: needs positive temperatures and a momentum in [0, 1], got '
                f'{student_temperature}, {teacher_temperature}, {center_momentum}'
            )
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(1, out_channels))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return the mean over pairs of different views [B, K], the teacher's first, in fp32."""
        if len(student) < 2 or not 1 <= len(teacher) <= len(student):
            raise ValueError(
                f'DINOLoss: {len(student)} views of the student and {len(teacher)} of the teacher; '
                'needs at least 2 of the student, the teacher seeing the first of them'
            )
        with torch.autocast(student[0].device.type, enabled=False):
            targets = self.targets(teacher)
            logs = [
                (at_least_fp32(view) / self.student_temperature).log_softmax(-1) for view in student
            ]
            terms = [
                -(target * log).sum(-1).mean()
                for number, target in enumerate(targets)
                for other, log in enumerate(logs)
                if other != number
            ]
            if self.training:
                self.update_center(teacher)
            return torch.stack(terms).mean()

    @torch.no_grad()
    def targets(self, teacher: Sequence[Tensor]) -> list[Tensor]:
        """Return the teacher's probabilities of each view [B, K]."""
        return [
            ((at_least_fp32(view) - self.center) / self.teacher_temperature).softmax(-1)
            for view in teacher
        ]

    @torch.no_grad()
    def update_center(self, teacher: Sequence[Tensor]) -> None:
        """Move the centre towards the mean of all processes' views [B, K], B equal on all."""
        mean = torch.cat([at_least_fp32(view) for view in teacher]).mean(0, keepdim=True)
        all_reduce(mean, op='sum')
        self.center.lerp_(mean / get_world_size(), 1 - self.center_momentum)
