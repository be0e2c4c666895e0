"""Attention distillation: a component of any pre-trainer."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones import Encoding
from .alignment import align_logits, align_tokens, check_alignment, norm_after, resolve_pairs
from .precision import at_least_fp32
from .standardization import HeadStandardizer
from .teacher import HiddenTeacher, TeacherInput


@MODELS.register_module()
class AttentionDistiller(HiddenTeacher):
    """Make a student's attention follow a frozen teacher's (ICML paper, equation 3).

    ``loss = loss_weight * sum over pairs of MSE(M · A_student, A_teacher)``, where A are scaled
    logits before the softmax; the sum is that of the authors' code. M is a learnable, bias-free map
    from student heads to teacher heads, a parameter of the model. The teacher is none: see
    :class:`HiddenTeacher`.

    With ``extra_layer`` it is the decoupled distillation of D²-MAE (arXiv 2404.12210): a block of
    queries and keys only stands behind the student's last one, as layer depth + 1, and is matched
    in its place. It belongs to the distiller, so the backbone stays plain.

    Args:
        teacher: Config of the teacher's backbone; its ``init_cfg`` names the checkpoint.
        pairs: (student layer, teacher layer), 1-based, or 'all' to pair all by relative depth.
        loss_weight: α of the paper; a plain attribute, so that hooks can schedule it.
        target: 'logits' before the softmax (the papers'), 'standardized' for the same on a scale
            that is the same for all teachers (:class:`HeadStandardizer`; the student follows them
            as they are, so that the loss starts near the number of pairs), or 'softmax' for the
            maps after it.
        head_map: 'per_pair' for one M a pair, 'shared' for one M for all, 'identity' for none
            (which needs equal numbers of heads).
        tokens: Which tokens are compared: 'all' (both sides must have the same prefix tokens),
            'class' (class token and patches; registers are dropped) or 'patches'.
        hidden_pairs: (student layer, teacher layer) whose outputs are matched too, each as the
            LayerNorm behind it hands it on, through a learnable bias-free linear map.
        hidden_weight: Weight of the loss of ``hidden_pairs``, a sum as well.
        extra_layer: Whether the student gets the query-key block.
        teacher_input: Arguments of :class:`TeacherInput` where images differ from the student's.
        teacher_dtype: See :class:`HiddenTeacher`.
    """

    def __init__(
        self,
        teacher: dict[str, Any],
        pairs: str | Sequence[Sequence[int]] = ((12, 12),),
        loss_weight: float = 1.0,
        target: str = 'logits',
        head_map: str = 'per_pair',
        tokens: str = 'all',
        hidden_pairs: Sequence[Sequence[int]] = (),
        hidden_weight: float = 1.0,
        extra_layer: bool = False,
        teacher_input: dict[str, Any] | None = None,
        teacher_dtype: str = 'fp32',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(MODELS.build(teacher), init_cfg, teacher_dtype)
        for name, value, known in (
            ('target', target, ('logits', 'standardized', 'softmax')),
            ('head_map', head_map, ('per_pair', 'shared', 'identity')),
            ('tokens', tokens, ('all', 'class', 'patches')),
        ):
            if value not in known:
                raise ValueError(f'{name} is one of {known}, got {value!r}')
        self._asked = pairs
        self.loss_weight, self.hidden_weight = loss_weight, hidden_weight
        self.target, self.head_map, self.tokens = target, head_map, tokens
        self.hidden_pairs = [(int(student), int(theirs)) for student, theirs in hidden_pairs]
        self.extra_layer = extra_layer
        self._teacher_input = teacher_input or {}
        self.pairs: list[tuple[int, int]] = []
        self.head_maps = nn.ModuleList()
        self.standardizers = nn.ModuleList()
        self.hidden_maps = nn.ModuleList()
        self.query_key_block: Any = None
        # A tuple hides norms, which belong to student and teacher.
        self._hidden_norms: tuple[tuple[nn.Module, nn.Module], ...] = ()

    def init_weights(self) -> None:
        """Load the teacher's checkpoint; warn if nothing names one."""
        super().init_weights()
        if not self.teacher.init_cfg and not getattr(self.teacher, 'pretrained', False):
            print_log(
                'The teacher of attention has random weights: name its file by '
                'distiller.teacher.init_cfg',
                logger='current',
                level=logging.WARNING,
            )

    @property
    def student_layers(self) -> tuple[int, ...]:
        """The backbone's layers whose logits are wanted; the extra one is not among them."""
        return tuple(student for student, _ in self.pairs if student <= self._depth)

    @property
    def student_hidden(self) -> tuple[int, ...]:
        """The backbone's layers whose outputs are wanted."""
        found = {student for student, _ in self.hidden_pairs}
        return tuple(sorted(found | ({self._depth} if self.extra_layer else set())))

    @property
    def trains_last_block(self) -> bool:
        """Whether the whole of the student's last block gets a gradient from here."""
        return self._depth in self.student_hidden

    def bind(self, student: Any, preprocessor: Any = None) -> None:
        """Check that student and teacher line up and create the maps.

        The student's ``preprocessor`` is needed when ``teacher_input`` has a mean. Raises
        ValueError where no option could reconcile layers, norms, tokens or heads.
        """
        self._depth, self._prefix = student.num_layers, student.num_prefix_tokens
        self.pairs = resolve_pairs(self._asked, student, self.teacher, self.extra_layer)
        check_alignment(
            student, self.teacher, self.pairs, self.hidden_pairs, self.tokens, self.extra_layer
        )
        self.teacher_input = TeacherInput(**self._teacher_input, preprocessor=preprocessor)
        if self.extra_layer:
            self.query_key_block = student.query_key_block()
        heads = [
            (student.heads_of(min(ours, self._depth)), self.teacher.heads_of(theirs))
            for ours, theirs in self.pairs
        ]
        if self.head_map == 'identity':
            unequal = [(p, h) for p, h in zip(self.pairs, heads, strict=True) if h[0] != h[1]]
            if unequal:
                raise ValueError(
                    f"head_map='identity' needs equal heads, but pair {unequal[0][0]} has "
                    f"{unequal[0][1]}; use 'per_pair' or 'shared'"
                )
        elif self.head_map == 'shared':
            if len(set(heads)) > 1:
                raise ValueError(
                    f"head_map='shared' needs the same heads in all pairs, got {heads}; "
                    "use 'per_pair'"
                )
            self.head_maps.append(nn.Conv2d(*heads[0], 1, bias=False))
        else:
            self.head_maps.extend(nn.Conv2d(ours, theirs, 1, bias=False) for ours, theirs in heads)
        if self.target == 'standardized':
            self.standardizers.extend(HeadStandardizer(theirs) for _, theirs in heads)
        self.hidden_maps.extend(
            nn.Linear(student.width_of(ours), self.teacher.width_of(theirs), bias=False)
            for ours, theirs in self.hidden_pairs
        )
        self._hidden_norms = tuple(
            (norm_after(student, ours, self.query_key_block), norm_after(self.teacher, theirs))
            for ours, theirs in self.hidden_pairs
        )

    @torch.no_grad()
    def teacher_view(
        self, inputs: Tensor, ids_keep: Tensor | None, layers: Sequence[int] | None = None
    ) -> Encoding:
        """Run the teacher as far as needed on the student's images [B, 3, H, W] and patches [B, K].

        Without ``hidden_pairs`` that is to the last product; ``layers`` (1-based) are those of
        ``pairs`` by default.
        """
        images = self.teacher_input(inputs)
        wanted = sorted({theirs for _, theirs in self.pairs}) if layers is None else layers
        hidden = {theirs for _, theirs in self.hidden_pairs}
        if hidden:
            return self.ask(self.teacher.encode, images, ids_keep, wanted, hidden)
        logits = self.ask(self.teacher.attention_logits, images, wanted, ids_keep)
        return Encoding(images.new_empty(0), logits, {})

    def student_logits(self, encoding: Encoding) -> dict[int, Tensor]:
        """Return the student's logits by layer, the extra layer's among them."""
        if self.query_key_block is None:
            return encoding.logits
        extra = self.query_key_block.logits(encoding.hidden[self._depth])
        return encoding.logits | {self._depth + 1: extra}

    def forward(
        self, inputs: Tensor, encoding: Encoding, ids_keep: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``loss_distill``, and ``loss_hidden`` of ``hidden_pairs``: weighted, fp32."""
        teacher, student = self.teacher_view(inputs, ids_keep), self.student_logits(encoding)
        losses = {}
        with torch.autocast(inputs.device.type, enabled=False):
            terms = []
            for index, (ours, theirs) in enumerate(self.pairs):
                mapped = self._map(self._aligned(student[ours], self._prefix), index)
                target = self._aligned(teacher.logits[theirs], self.teacher.num_prefix_tokens)
                if self.standardizers:
                    target = self.standardizers[index](target)
                terms.append(F.mse_loss(mapped, target))
            losses['loss_distill'] = self.loss_weight * torch.stack(terms).sum()
            terms = []
            for index, (ours, theirs) in enumerate(self.hidden_pairs):
                norm, their_norm = self._hidden_norms[index]
                mine = align_tokens(encoding.hidden[ours], self._prefix, self.tokens)
                target = align_tokens(
                    teacher.hidden[theirs], self.teacher.num_prefix_tokens, self.tokens
                )
                mapped = self.hidden_maps[index](norm(at_least_fp32(mine)))
                # A teacher in bf16 has its norm in bf16, too.
                target = target if self.in_bf16 else at_least_fp32(target)
                terms.append(F.mse_loss(mapped, at_least_fp32(their_norm(target))))
            if terms:
                losses['loss_hidden'] = self.hidden_weight * torch.stack(terms).sum()
        return losses

    def _aligned(self, logits: Tensor, prefix: int) -> Tensor:
        logits = at_least_fp32(align_logits(logits, prefix, self.tokens))
        return logits.softmax(-1) if self.target == 'softmax' else logits

    def _map(self, attention: Tensor, index: int) -> Tensor:
        """Map student heads to teacher heads: [B, heads, ..., K] -> [B, teacher heads, ..., K]."""
        if self.head_map == 'identity':
            return attention
        module = self.head_maps[0 if self.head_map == 'shared' else index]
        # [B, heads, (windows,) Q, K] -> [B, heads, windows*Q, K] and back
        shape = attention.shape
        mapped = module(attention.flatten(2, -2))
        return mapped.reshape(shape[0], mapped.shape[1], *shape[2:])

    @torch.no_grad()
    def agreement(
        self, inputs: Tensor, encoding: Encoding, ids_keep: Tensor | None = None
    ) -> dict[str, float]:
        """Return {'layer_i': R² of the teacher's attention, 0 to 1}.

        A student layer is compared with its partner in ``pairs``, else with the teacher's layer at
        the same relative depth; layers whose attention has another shape are left out. The measure
        is :func:`attention_r2`, which fits the map of heads itself: it is fair to students that
        were not distilled, and blind to what a softmax does not see.
        """
        student, depth = self.student_logits(encoding), self.teacher.num_layers
        partner = {i: min(depth, max(1, round(i * depth / self._depth))) for i in student}
        partner |= {ours: theirs for ours, theirs in self.pairs if ours in student}
        teacher = self.teacher_view(inputs, ids_keep, sorted(set(partner.values()))).logits
        prefixes = self._prefix, self.teacher.num_prefix_tokens
        result = {}
        for layer, logits in sorted(student.items()):
            both = zip((logits, teacher[partner[layer]]), prefixes, strict=True)
            ours, theirs = (align_logits(x, prefix, self.tokens) for x, prefix in both)
            if ours.shape[2:] == theirs.shape[2:]:
                result[f'layer_{layer}'] = attention_r2(ours, theirs)
        return result


@torch.no_grad()
def attention_r2(student: Tensor, teacher: Tensor) -> float:
    """Return the R² of a teacher's attention by the best linear map of a student's heads.

    Logits [B, heads, ..., K] are centred over keys first, as the softmax does not see their mean.
    It is what the distiller's M could reach: 1 for a network and itself, 0 for a student that
    attends uniformly.
    """
    # [B, heads, ..., K] -> centred, [heads, B*...*K]
    ours, theirs = (
        (x.double() - x.double().mean(-1, keepdim=True)).transpose(0, 1).flatten(1)
        for x in (student, teacher)
    )
    return r2_of_products(ours @ ours.T, ours @ theirs.T, theirs.square().sum())


def r2_of_products(gram: Tensor, cross: Tensor, energy: Tensor) -> float:
    """Return R² of least squares from X X' [h, h], X Y' [h, g] and the sum of squares of Y."""
    explained = (cross * (torch.linalg.pinv(gram, hermitian=True) @ cross)).sum()
    return (explained / energy).clamp(0, 1).item() if energy else 0.0
