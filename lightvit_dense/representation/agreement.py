"""How alike a student and a teacher attend, layer against layer, without a learnt map."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.models.pretraining.distillation import r2_of_products

from .attention_maps import BUDGET, Layout, check_layers, logit_count, token_layouts

MEASURES = ('cross_entropy', 'kl', 'cosine', 'js')


@dataclass(frozen=True)
class PairAgreement:
    """Means over images and queries of one pair of layers, whose maps are means over heads."""

    student: int  # layer, 1-based
    teacher: int  # layer, 1-based
    cross_entropy: float  # -sum t log s of maps t and s, in nats
    kl: float  # sum t log(t / s), in nats; 0 for equal maps
    cosine: float  # of the rows of the maps; 1 for equal maps
    js: float  # Jensen-Shannon divergence, in nats; 0 for equal maps, log 2 at most
    explained: float  # attention_r2: what a distiller's linear map of heads could reach

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return asdict(self)


class _Layer:
    """What is computed once of a layer's logits [B, heads, W, q, k], however many pairs it has."""

    def __init__(self, logits: Tensor) -> None:
        self.shape = logits.shape
        self.mean = mean_map(logits.log_softmax(-1))
        # A softmax does not see the mean of a row.
        self.centred = logits - logits.mean(-1, keepdim=True)
        self.gram = _products(self.centred, self.centred)


def mean_map(log: Tensor) -> Tensor:
    """Return the logarithm [B, ..., K] of the mean over heads of maps, given their logarithm."""
    return log.logsumexp(1) - math.log(log.shape[1])


def mean_maps_agreement(ours: Tensor, theirs: Tensor) -> Tensor:
    """Compare maps [B, W, q, k] by :data:`MEASURES`; sums over images and queries [4]."""
    s, t = ours.exp(), theirs.exp()
    middle = torch.logaddexp(ours, theirs) - math.log(2)
    cross, entropy = -(t * ours).sum(-1), -(t * theirs).sum(-1)
    js = ((t * (theirs - middle)).sum(-1) + (s * (ours - middle)).sum(-1)) / 2
    cosine = torch.nn.functional.cosine_similarity(s, t, dim=-1)
    found = (cross, cross - entropy, cosine, js)
    return torch.stack([x.double().sum() for x in found])


class AttentionAgreement:
    """Agreement of a student's and a teacher's attention, gathered batch by batch.

    Prefix tokens are taken out before the softmax, and tokens put in raster order. Maps averaged
    over heads are compared. What is kept does not grow with the images.

    Args:
        student: Backbone in evaluation mode, on its device.
        teacher: Backbone in evaluation mode, on the same device.
        pairs: (student layer, teacher layer), 1-based; 'all' for every layer with every layer of
            the same tokens; the last with the last by default.
        sizes: (height, width) in px of the student's and of the teacher's images.
        budget: Greatest number of values of both to hold at a time, one image at the least.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        pairs: str | Sequence[Sequence[int]] | None,
        sizes: tuple[tuple[int, int], tuple[int, int]],
        budget: int = BUDGET,
    ) -> None:
        asked = resolve_layer_pairs(pairs, student, teacher)
        ours = check_layers(student, sorted({x for x, _ in asked}))
        theirs = check_layers(teacher, sorted({x for _, x in asked}))
        self._layouts = (
            token_layouts(student, ours, sizes[0]),
            token_layouts(teacher, theirs, sizes[1]),
        )
        self.pairs = [pair for pair in asked if self._comparable(pair)]
        if len(self.pairs) < len(asked) and (pairs != 'all' or not self.pairs):
            self._refuse(next(pair for pair in asked if pair not in self.pairs), sizes)
        self._sides = list(zip((student, teacher), self._layouts, strict=True))
        # Of every layer its logits and two tensors of their size are held.
        held = 3 * sum(sum(logit_count(*side).values()) for side in self._sides)
        self._together = max(1, budget // held)
        self._sums: dict[tuple[int, int], dict[str, Any]] = {}

    def _comparable(self, pair: tuple[int, int]) -> bool:
        """Return whether queries and keys of two layers stand for the same parts of the image."""
        sides = [side[layer] for side, layer in zip(self._layouts, pair, strict=True)]
        if any(side.real is not None for side in sides):
            return False
        ours, theirs = (side.in_raster()[0] for side in sides)
        if (ours.shape, ours.grid) != (theirs.shape, theirs.grid):
            return False
        # Places in tokens: patches of another size may stand for the same parts of the image.
        places = ((x.queries / x.stride, x.keys / x.stride) for x in (ours, theirs))
        return all(torch.equal(*both) for both in zip(*places, strict=True))

    def _refuse(self, pair: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> None:
        ours, theirs = (side[layer] for side, layer in zip(self._layouts, pair, strict=True))
        sides = [
            f'{side} layer {layer}: {x.grid[0]}x{x.grid[1]} keys of {x.stride} px in images of '
            f'{size[0]}x{size[1]} px, (windows, queries, keys) {x.shape}'
            for side, layer, x, size in zip(
                ('student', 'teacher'), pair, (ours, theirs), sizes, strict=True
            )
        ]
        if ours.real is not None or theirs.real is not None:
            remedy = 'attention windows are filled up there: choose a --size of whole windows'
        elif ours.grid != theirs.grid and ours.shape[0] == theirs.shape[0] == 1:
            remedy = (
                f'give the teacher images of {ours.grid[0] * theirs.stride} px, --size '
                f'{sizes[0][0]} {ours.grid[0] * theirs.stride}, or choose other layers'
            )
        else:
            remedy = 'choose layers that both attend globally, without pooling'
        raise UserError(f'tokens do not line up: {sides[0]}; {sides[1]}; {remedy}')

    @torch.no_grad()
    def update(self, images: Tensor, teacher_images: Tensor | None = None) -> None:
        """Add images [B, 3, H, W] as the student wants them, and as the teacher does."""
        theirs = images if teacher_images is None else teacher_images
        if len(theirs) != len(images):
            raise ValueError(f'{len(images)} images for the student, {len(theirs)} for the teacher')
        both = zip(images.split(self._together), theirs.split(self._together), strict=True)
        for part in both:
            student, teacher = (
                {layer: _Layer(y) for layer, y in _logits(backbone, x, layouts).items()}
                for (backbone, layouts), x in zip(self._sides, part, strict=True)
            )
            for pair in self.pairs:
                self._add(pair, student[pair[0]], teacher[pair[1]])

    def _add(self, pair: tuple[int, int], student: _Layer, teacher: _Layer) -> None:
        """Add the numbers of a pair; h and g are heads of the student and of the teacher."""
        found = {
            'queries': student.mean[..., 0].numel(),
            'mean': mean_maps_agreement(student.mean, teacher.mean),  # [4], as MEASURES
            'gram': student.gram,  # of centred logits [h, h]
            'product': _products(student.centred, teacher.centred),  # [h, g]
            'energy': teacher.gram.trace(),
        }
        sums = self._sums.setdefault(pair, {})
        for name, value in found.items():
            sums[name] = sums[name] + value if name in sums else value

    def result(self) -> list[PairAgreement]:
        """Return the means over all images, by pair."""
        if not self._sums:
            raise ValueError('no image was given to update()')
        return [self._finish(pair, self._sums[pair]) for pair in self.pairs]

    @staticmethod
    def _finish(pair: tuple[int, int], sums: dict[str, Any]) -> PairAgreement:
        mean = sums['mean'] / sums['queries']
        explained = r2_of_products(sums['gram'], sums['product'], sums['energy'])
        return PairAgreement(
            *pair, **dict(zip(MEASURES, mean.tolist(), strict=True)), explained=explained
        )


def _logits(backbone: Any, images: Tensor, layouts: dict[int, Layout]) -> dict[int, Tensor]:
    """Return patches' logits [B, heads, W, q, k] by layer, in raster order, fp32 or better."""
    found, bare = backbone.attention_logits(images, list(layouts)), {}
    for layer, layout in layouts.items():
        logits = layout.patches_only(found.pop(layer))
        _, queries, keys = layout.in_raster()
        if not all(torch.equal(x, torch.arange(len(x))) for x in (queries, keys)):
            logits = logits[..., queries, :][..., keys]
        bare[layer] = logits if logits.dtype == torch.float64 else logits.float()
    return bare


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Return the products of all heads with all heads [h, g], float64, of [B, h or g, W, q, k]."""
    left, right = left.flatten(2), right.flatten(2)  # [B, heads, W*q*k]
    return (left @ right.transpose(1, 2)).double().sum(0)


def resolve_layer_pairs(
    pairs: str | Sequence[Sequence[int]] | None, student: Any, teacher: Any
) -> list[tuple[int, int]]:
    """Spell out (student layer, teacher layer) pairs; see :class:`AttentionAgreement`."""
    for backbone in (student, teacher):
        check_layers(backbone, None)
    depths = student.num_layers, teacher.num_layers
    if pairs is None:
        return [depths]
    if pairs == 'all':
        return [(i, j) for i in range(1, depths[0] + 1) for j in range(1, depths[1] + 1)]
    found = [tuple(int(layer) for layer in pair) for pair in pairs]
    if not found or len(set(found)) < len(found) or any(len(pair) != 2 for pair in found):
        raise UserError(f"pairs are 'all' or different STUDENT:TEACHER layers, got {pairs}")
    return [(ours, theirs) for ours, theirs in found]


def parse_pairs(words: Sequence[str]) -> str | list[tuple[int, int]] | None:
    """Read pairs from a command line: ``all``, or words like ``6:6``; None for no words."""
    if not words:
        return None
    if list(words) == ['all']:
        return 'all'
    found = []
    for word in words:
        ours, _, theirs = word.partition(':')
        if not (ours.isdecimal() and theirs.isdecimal()):
            raise UserError(f"--pairs {word}: write STUDENT:TEACHER layers such as 12:12, or 'all'")
        found.append((int(ours), int(theirs)))
    return found
