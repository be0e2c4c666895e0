"""Attention distillation: a component of any pre-trainer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from typing_extensions import Self

from ...registry import MODELS
from .precision import at_least_fp32


@MODELS.register_module()
class AttentionDistiller(BaseModule):
    """Make a student's attention logits follow a frozen teacher's (ICML paper, equation 3).

    ``loss = loss_weight * mean over pairs of MSE(M_p · A_student, A_teacher)`` on scaled logits
    before the softmax. M is a learnable, bias-free map from student heads to teacher heads, one a
    pair; it is a parameter of the model, so it is
    optimised, saved and reduced across ranks. The teacher is neither: it is held outside the module
    tree, never gets a gradient, and comes from its own checkpoint.

    Args:
        teacher: Config of the teacher's backbone; its ``init_cfg`` names the checkpoint.
        pairs: (student layer, teacher layer), 1-based.
        loss_weight: α of the paper; a plain attribute, so that hooks can schedule it.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: If ``pairs`` is empty or names a student layer twice.
    """

    def __init__(
        self,
        teacher: dict[str, Any],
        pairs: Sequence[Sequence[int]] = ((12, 12),),
        loss_weight: float = 1.0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.pairs = [(int(student), int(of_teacher)) for student, of_teacher in pairs]
        self.student_layers = tuple(student for student, _ in self.pairs)
        if not self.pairs or len(set(self.student_layers)) != len(self.pairs):
            raise ValueError(f'pairs={self.pairs} must name each student layer once')
        self.teacher_layers = tuple(sorted({of_teacher for _, of_teacher in self.pairs}))
        self.loss_weight = loss_weight
        network = MODELS.build(teacher).requires_grad_(False).eval()
        # A tuple hides the teacher from parameters(), state_dict() and DistributedDataParallel.
        self._hidden = (network,)
        self.head_maps = nn.ModuleList()

    @property
    def teacher(self) -> Any:
        """The frozen teacher."""
        return self._hidden[0]

    def bind(self, student: Any) -> None:
        """Check that student and teacher line up and create the head maps.

        Args:
            student: The student's backbone.

        Raises:
            ValueError: If a layer does not exist or the token grids differ; names both shapes.
        """
        for side, network, layers in (
            ('student', student, self.student_layers),
            ('teacher', self.teacher, self.teacher_layers),
        ):
            for layer in layers:
                if not 1 <= layer <= network.num_layers:
                    raise ValueError(
                        f'pairs={self.pairs} names {side} layer {layer}; '
                        f'it has 1..{network.num_layers}'
                    )
        shapes = [(net.grid_size, net.num_prefix_tokens) for net in (student, self.teacher)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f'token grids differ: student {shapes[0][0]} + {shapes[0][1]} prefix tokens, '
                f'teacher {shapes[1][0]} + {shapes[1][1]}; give both the same img_size / patch_size'
            )
        self.head_maps = nn.ModuleList(
            nn.Conv2d(student.num_heads, self.teacher.num_heads, 1, bias=False) for _ in self.pairs
        )

    def init_weights(self) -> None:
        """Load the teacher's checkpoint, which mmengine cannot reach by itself."""
        super().init_weights()
        self.teacher.init_weights()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the teacher wherever the model moves."""
        self.teacher._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def teacher_logits(
        self, inputs: Tensor, ids_keep: Tensor, layers: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Run the teacher up to the query-key product of the last layer asked for.

        Args:
            inputs: Normalised images [B, 3, H, W].
            ids_keep: Visible patches [B, K], the student's.
            layers: Teacher layers, 1-based; those of ``pairs`` by default.

        Returns:
            {layer: logits [B, heads, 1+K, 1+K]}.
        """
        return self.teacher.attention_logits(inputs, layers or self.teacher_layers, ids_keep)

    def forward(self, inputs: Tensor, ids_keep: Tensor, student: dict[int, Tensor]) -> Tensor:
        """Return the weighted loss.

        Args:
            inputs: Normalised images [B, 3, H, W].
            ids_keep: Visible patches [B, K].
            student: {layer: logits [B, heads, 1+K, 1+K]} of the student.

        Returns:
            A scalar, fp32.
        """
        targets = self.teacher_logits(inputs, ids_keep)
        losses = []
        with torch.autocast(inputs.device.type, enabled=False):
            for head_map, (layer, of_teacher) in zip(self.head_maps, self.pairs, strict=True):
                mapped = head_map(at_least_fp32(student[layer]))
                loss = nn.functional.mse_loss(mapped, at_least_fp32(targets[of_teacher]))
                losses.append(loss)
        return self.loss_weight * torch.stack(losses).mean()

    @torch.no_grad()
    def agreement(
        self, inputs: Tensor, ids_keep: Tensor, student: dict[int, Tensor]
    ) -> dict[str, float]:
        """Measure how alike student and teacher attend.

        A student layer is compared with its partner in ``pairs``, else with the teacher's layer at
        the same relative depth. Attention is averaged over heads after the softmax, so the number
        of heads does not matter.

        Args:
            inputs: Normalised images [B, 3, H, W].
            ids_keep: Visible patches [B, K].
            student: {layer: logits [B, heads, 1+K, 1+K]}.

        Returns:
            {'layer_i': mean cosine similarity over queries and images}, between 0 and 1.
        """
        deepest, depth = max(student), self.teacher.num_layers
        partner = {i: max(1, round(i * depth / deepest)) for i in student} | dict(self.pairs)
        targets = self.teacher_logits(inputs, ids_keep, sorted({partner[i] for i in student}))
        result = {}
        for layer, logits in sorted(student.items()):
            ours = logits.float().softmax(-1).mean(1)  # [B, 1+K, 1+K]
            theirs = targets[partner[layer]].float().softmax(-1).mean(1)
            result[f'layer_{layer}'] = (
                nn.functional.cosine_similarity(ours, theirs, -1).mean().item()
            )
        return result
