"""A frozen network that a model learns from and is not made of, and the images it sees."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from typing_extensions import Self

from ...utils.devices import fast_in_bf16
from ..backbones.sizes import pair

TEACHER_DTYPES = ('fp32', 'bf16', 'auto')
Answer = TypeVar('Answer')


class HiddenTeacher(BaseModule):
    """Base of what holds a frozen teacher outside the module tree.

    It moves with the model, and is neither optimised, saved nor reduced across ranks. It never
    leaves evaluation.

    Args:
        teacher: The network.
        teacher_dtype: 'fp32' for weights as they are, which AMP may cast in every step; 'bf16' for
            weights that are cast once and a pass all in bf16, with AMP or without; 'auto' for
            'bf16' where the device has units for it (:func:`fast_in_bf16`), else 'fp32'.
    """

    def __init__(
        self,
        teacher: nn.Module,
        init_cfg: dict | list[dict] | None = None,
        teacher_dtype: str = 'fp32',
    ) -> None:
        super().__init__(init_cfg)
        if teacher_dtype not in TEACHER_DTYPES:
            raise ValueError(f'teacher_dtype is one of {TEACHER_DTYPES}, got {teacher_dtype!r}')
        self.teacher_dtype = teacher_dtype
        self.in_bf16 = False
        # A tuple hides it from parameters(), state_dict() and DistributedDataParallel.
        self._hidden = (teacher.requires_grad_(False).eval(),)
        self._borrows = False

    @property
    def teacher(self) -> Any:
        """The frozen teacher."""
        return self._hidden[0]

    def init_weights(self) -> None:
        """Load the teacher's checkpoint, which mmengine cannot reach by itself."""
        super().init_weights()
        self.teacher.init_weights()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy all but the teacher: copies, such as a moving average, borrow it."""
        memo.update({id(part): part for part in self.teacher.modules()})
        twin = memo[id(self)] = type(self).__new__(type(self))
        twin.__dict__.update({k: deepcopy(value, memo) for k, value in self.__dict__.items()})
        twin._borrows = True
        return twin

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the teacher wherever the model moves, and cast it there."""
        if self._borrows:  # it follows the model that was copied
            return super()._apply(fn, recurse)
        self.teacher._apply(fn, recurse)
        device = next(self.teacher.parameters()).device
        auto = self.teacher_dtype == 'auto'
        self.in_bf16 = fast_in_bf16(device) if auto else self.teacher_dtype == 'bf16'
        if self.in_bf16:
            self.teacher.bfloat16()
            print_log('The frozen teacher computes in bf16', logger='current')
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def ask(self, question: Callable[..., Answer], images: Tensor, *args: Any) -> Answer:
        """Call the teacher, or a method of it, on its images [B, 3, H, W] in its own type."""
        if not self.in_bf16:
            return question(images, *args)
        with torch.autocast(images.device.type, enabled=False):
            return question(images.bfloat16(), *args)


class TeacherInput(nn.Module):
    """Turn the student's normalised images into the teacher's.

    Patches of another side line up when the teacher gets another image size: a teacher of 14-px
    patches sees 196 px where a student of 16-px patches sees 224, both 14 x 14 patches.

    Args:
        size: (height, width) or side of the teacher's images; ``None`` for the student's.
        mean: The teacher's mean, of 0..255, with its ``std``; ``None`` for the student's.
        preprocessor: The student's data preprocessor, of which mean and std are taken.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__()
        if size is not None:
            size = pair(size)
        self.size = size
        if (mean is None) != (std is None):
            raise ValueError('teacher_input: give both mean and std, or neither')
        self.renormalise = mean is not None and std is not None
        if not self.renormalise:
            return
        ours = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
        if ours[0] is None or ours[1] is None:
            raise ValueError(
                "teacher_input: the teacher's mean and std are given, but the student's are not "
                'known; give the model a data_preprocessor with mean and std'
            )
        theirs = [torch.tensor(v, dtype=torch.float32).reshape(3, 1, 1) for v in (mean, std)]
        # x * std_s + mean_s are pixels; normalised by the teacher's that is one scale and shift.
        self.register_buffer('scale', ours[1].cpu().float() / theirs[1], persistent=False)
        shift = (ours[0].cpu().float() - theirs[0]) / theirs[1]
        self.register_buffer('shift', shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Convert images [B, 3, H, W]."""
        if self.renormalise:
            images = images * self.scale + self.shift
        if self.size is None or tuple(images.shape[-2:]) == self.size:
            return images
        return F.interpolate(images, self.size, mode='bicubic', align_corners=False, antialias=True)
