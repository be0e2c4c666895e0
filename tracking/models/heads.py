"""Heads: a map of search tokens in, score, size and offset of the target in each cell out."""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.ops import box_convert

from lightvit_dense.models.pretraining.precision import at_least_fp32

from ..registry import MODELS
from .losses import focal_loss, gaussian_map, giou_loss


class Maps(NamedTuple):
    """What a head says of every cell."""

    score: Tensor  # that the target's centre is here, in 0..1 [B, 1, rows, columns]
    size: Tensor  # width and height as parts of the search crop [B, 2, rows, columns]
    offset: Tensor  # of the centre from the cell's corner, x and y in cells [B, 2, rows, columns]


def decode(maps: Maps, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Read the best boxes off maps; a window [rows, columns] multiplies scores to choose cells.

    Returns boxes [B, 4] as x, y, width, height in parts of the search crop, and the scores [B] of
    their cells, without the window.
    """
    rows, columns = maps.score.shape[-2:]
    score = maps.score.flatten(1)  # [B, rows*columns]
    best = (score if window is None else score * window.flatten()).argmax(1, keepdim=True)
    pick = best[:, None].expand(-1, 2, -1)  # [B, 2, 1]
    size = maps.size.flatten(2).gather(2, pick)[..., 0]
    offset = maps.offset.flatten(2).gather(2, pick)[..., 0]
    row = torch.div(best, columns, rounding_mode='floor')
    x, y = (best - row * columns + offset[:, :1]) / columns, (row + offset[:, 1:]) / rows
    center = torch.cat([x, y], dim=1)
    return torch.cat([center - size / 2, size], dim=1), score.gather(1, best)[:, 0]


class DenseHead(BaseModule):
    """A head that yields :class:`Maps`; subclasses say how.

    Args:
        boxes_at: Of which cell the box is trained: 'prediction', the one with the best score, as
            OSTrack does, or 'truth', the target's, as CenterNet does, which teaches sizes before
            the target is found.
        init_cfg: mmengine initialisation config.
    """

    min_overlap = 0.7
    score: nn.Module
    size: nn.Module
    offset: nn.Module

    def __init__(
        self, boxes_at: str = 'prediction', init_cfg: dict | list[dict] | None = None
    ) -> None:
        super().__init__(init_cfg)
        if boxes_at not in ('prediction', 'truth'):
            raise ValueError(
                f"{type(self).__name__}: boxes_at={boxes_at!r} must be 'prediction' or 'truth'"
            )
        self.boxes_at = boxes_at

    def forward(self, x: Tensor) -> Maps:
        """Return the maps of features [B, C, rows, columns]."""
        return Maps(
            self.squash(self.score(x)), self.squash(self.size(x)), at_least_fp32(self.offset(x))
        )

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        """Bring scores and sizes strictly between 0 and 1, at least in single precision."""
        return at_least_fp32(x).sigmoid().clamp(1e-4, 1 - 1e-4)

    def loss(self, maps: Maps, boxes: Tensor) -> dict[str, Tensor]:
        """Return the unweighted losses 'score' (focal), 'giou', 'l1', and 'IoU' for the log.

        The box losses are those of the cell that ``boxes_at`` says; a target whose centre is not
        on the map has none, so it is the best-scored one then. True boxes [B, 4] are x, y, width,
        height as parts of the search crop, at whose border they are cut.
        """
        rows, columns = maps.score.shape[-2:]
        target = gaussian_map(boxes.to(maps.score), (rows, columns), self.min_overlap)
        chosen = maps.score
        if self.boxes_at == 'truth':
            chosen = target + 1e-6 * maps.score.detach()
        found = decode(Maps(chosen, maps.size, maps.offset))[0]
        predicted = box_convert(found, 'xywh', 'xyxy')
        wanted = box_convert(boxes.to(predicted), 'xywh', 'xyxy').clamp(0, 1)
        giou, iou = giou_loss(predicted, wanted)
        score = focal_loss(maps.score, target)
        return {'score': score, 'giou': giou, 'l1': F.l1_loss(predicted, wanted), 'IoU': iou}

    def reset_parameters(self, score: nn.Conv2d, prior: float | None) -> None:
        """Initialise kernels Xavier-uniform, as OSTrack's code does, and the score to its prior."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        if prior is not None:
            if not 0 < prior < 1:
                raise ValueError(f'{type(self).__name__}: prior={prior} must be in (0, 1)')
            assert score.bias is not None
            nn.init.constant_(score.bias, math.log(prior / (1 - prior)))


def _branch(in_channels: int, channels: int, out_channels: int) -> nn.Sequential:
    """Return four 3x3 convolutions, each half as wide as the one before, and a 1x1."""
    layers: list[nn.Module] = []
    for level in range(4):
        width = channels // 2**level
        layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers, nn.Conv2d(in_channels, out_channels, 1))


@MODELS.register_module()
class CenterHead(DenseHead):
    """OSTrack's head: three stacks of convolutions (Ye et al. 2022, section 3.3).

    Args:
        in_channels: Width of the backbone's map.
        channels: Width of the first convolution of each branch, halved from one to the next; a
            multiple of 8.
        prior: Score of an average cell at first, e.g. 0.1 as in CenterNet, which saves a short
            training the iterations that go into saying no everywhere; ``None`` for OSTrack's one
            half.
        **kwargs: As :class:`DenseHead`.
    """

    def __init__(
        self, in_channels: int, channels: int = 256, prior: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if channels < 8 or channels % 8:
            raise ValueError(f'CenterHead: channels={channels} must be a multiple of 8')
        self.score = _branch(in_channels, channels, 1)
        self.size = _branch(in_channels, channels, 2)
        self.offset = _branch(in_channels, channels, 2)
        self.reset_parameters(cast(nn.Conv2d, self.score[-1]), prior)


@MODELS.register_module()
class MLPHead(DenseHead):
    """Every token for itself: a perceptron of shared hidden layers and three outputs.

    Much cheaper than convolutions and less exact, because a cell does not see its neighbours. For
    the other arguments see :class:`CenterHead`.

    Args:
        channels: Width of the hidden layers.
        num_layers: Number of hidden layers.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        num_layers: int = 2,
        prior: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f'MLPHead: num_layers={num_layers} must be positive')
        layers: list[nn.Module] = []
        for layer in range(num_layers):
            layers += [nn.Conv2d(channels if layer else in_channels, channels, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Conv2d(channels, 1, 1)
        self.size = nn.Conv2d(channels, 2, 1)
        self.offset = nn.Conv2d(channels, 2, 1)
        self.reset_parameters(self.score, prior)

    def forward(self, x: Tensor) -> Maps:
        """Return the maps of features [B, C, rows, columns]."""
        return super().forward(self.layers(x))
