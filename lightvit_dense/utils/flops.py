"""Parameters and arithmetic of whole models, part by part."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS

from .environment import count_flops

_SOME_ROIS = 4


@dataclass(frozen=True)
class Part:
    """A part of a model."""

    name: str  # such as 'backbone'
    params: int
    flops: int  # of one image; a multiplication and an addition are two
    used: bool = True  # in prediction; what serves training alone is not in the total
    note: str = ''  # what the number depends on

    @property
    def macs(self) -> int:
        """Multiplications with an addition: half the FLOPs. Papers often call them FLOPs."""
        return self.flops // 2


@dataclass(frozen=True)
class Cost:
    """What one image costs."""

    shape: tuple[int, int]  # (height, width) of the image
    parts: tuple[Part, ...]  # in the order in which they work

    @property
    def params(self) -> int:
        """Parameters of all parts."""
        return sum(part.params for part in self.parts)

    @property
    def used_params(self) -> int:
        """Parameters that prediction needs."""
        return sum(part.params for part in self.parts if part.used)

    @property
    def flops(self) -> int:
        """FLOPs of a prediction."""
        return sum(part.flops for part in self.parts if part.used)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        parts = [asdict(part) | {'macs': part.macs} for part in self.parts]
        total = {'params': self.params, 'used_params': self.used_params, 'flops': self.flops}
        return {'shape': list(self.shape), **total, 'macs': self.flops // 2, 'parts': parts}


def count_cost(cfg: Config, shape: Sequence[int] | None = None, device: str = 'cpu') -> Cost:
    """Build a config's model at random and count what a prediction of one image costs.

    Counted are matrix products, convolutions and attention, also where it is fused; norms,
    activations, interpolation, pooling of regions and suppression of boxes are not. The heads of
    regions are counted for the greatest number of regions that ``test_cfg`` lets through. A model
    of another kind lists its parts as ``cost_calls(device)``: name, module and a call to count.

    The scope of the config must have been set. ``shape`` is (height, width), by default a
    detector's padded size, the window of a segmentor, the image size of a classifier's backbone.
    Raises UserError if the model or the size of its images is unknown.
    """
    model = MODELS.build(cfg.model).to(device).eval()
    size = (int(shape[0]), int(shape[1])) if shape else default_shape(model)
    image = torch.zeros(1, 3, *size, device=device)
    with torch.no_grad():
        if hasattr(model, 'cost_calls'):
            if size != default_shape(model):
                raise UserError(
                    f'{type(model).__name__} is built for one size of image; leave --shape out and '
                    'change the size in the config (--cfg-options)'
                )
            calls = model.cost_calls(device)
            parts = [_count(name, module, call)[0] for name, module, call in calls]
        elif hasattr(model, 'roi_head'):
            parts = _count_detector(model, image)
        elif hasattr(model, 'decode_head'):
            parts = _count_segmentor(model, image)
        elif hasattr(model, 'backbone') and type(model).__name__.endswith('Classifier'):
            backbone, _ = _count('backbone', model.backbone, lambda: model.backbone(image))
            whole, _ = _count('whole', model, lambda: model(image, mode='tensor'))
            head = Part('head', whole.params - backbone.params, whole.flops - backbone.flops)
            parts = [backbone, head]
        else:
            raise UserError(
                f'{type(model).__name__}: get_flops counts two-stage detectors, segmentors, '
                'classifiers and trackers'
            )
    return Cost(size, tuple(parts))


def default_shape(model: nn.Module) -> tuple[int, int]:
    """Return (height, width) of the images that a model is made for."""
    settings = getattr(model, 'test_cfg', None) or {}
    preprocessor = getattr(model, 'data_preprocessor', None)
    backbone = getattr(model, 'backbone', None)
    grid, patch = getattr(backbone, 'grid_size', None), getattr(backbone, 'patch_size', 0)
    candidates = (
        getattr(model, 'window', None),
        settings.get('crop_size') if hasattr(settings, 'get') else None,
        getattr(model, 'pad_shape', None),
        getattr(preprocessor, 'size', None),
        getattr(model, 'img_size', None),
        None if grid is None else (grid[0] * patch, grid[1] * patch),
    )
    for size in candidates:
        sides = (size, size) if isinstance(size, int) else tuple(size or ())
        if len(sides) == 2 and all(sides):
            return int(sides[0]), int(sides[1])
    raise UserError('nothing in the config says how large images are; give --shape HEIGHT WIDTH')


def _count(name: str, module: nn.Module, call: Callable[[], Any], **more: Any) -> tuple[Part, Any]:
    """Count a call, and return what it gave."""
    result: list[Any] = []
    flops = count_flops(lambda: result.append(call()))
    return Part(name, sum(p.numel() for p in module.parameters()), flops, **more), result[0]


def _count_features(model: Any, image: Tensor) -> tuple[list[Part], Any]:
    """Count backbone and neck; return their maps."""
    part, maps = _count('backbone', model.backbone, lambda: model.backbone(image))
    parts = [part]
    if getattr(model, 'neck', None) is not None:
        part, maps = _count('neck', model.neck, lambda: model.neck(maps))
        parts.append(part)
    return parts, maps


def _count_detector(model: Any, image: Tensor) -> list[Part]:
    parts, maps = _count_features(model, image)
    parts.append(_count('rpn_head', model.rpn_head, lambda: model.rpn_head(maps))[0])
    head = model.roi_head
    if not hasattr(head, '_bbox_forward') or isinstance(head.bbox_head, nn.ModuleList):
        raise UserError(f'{type(head).__name__}: get_flops knows a single stage of regions')
    # Heads treat every region alike: the cost of a few scales to that of many.
    side = float(min(image.shape[2:]))
    regions = torch.tensor([[0.0, 0.0, 0.0, side / 2, side / 2]], device=image.device)
    regions = regions.repeat(_SOME_ROIS, 1)  # batch index, left, top, right, bottom
    rows = [('bbox_head', head._bbox_forward, model.test_cfg['rpn'], 'proposals')]
    if head.with_mask:
        rows.append(('mask_head', head._mask_forward, model.test_cfg['rcnn'], 'detections'))
    for name, forward, settings, what in rows:
        count = settings['max_per_img']
        module = getattr(head, name)
        some, _ = _count(name, module, lambda forward=forward: forward(maps, regions))  # type: ignore[misc]
        total = some.flops * count // _SOME_ROIS
        parts.append(Part(f'roi_head.{name}', some.params, total, note=f'{count} {what}'))
    return parts


def _count_segmentor(model: Any, image: Tensor) -> list[Part]:
    parts, maps = _count_features(model, image)
    parts.append(_count('decode_head', model.decode_head, lambda: model.decode_head(maps))[0])
    auxiliary = getattr(model, 'auxiliary_head', None)
    if auxiliary is not None:
        heads = auxiliary if isinstance(auxiliary, nn.ModuleList) else [auxiliary]
        part, _ = _count(
            'auxiliary_head',
            auxiliary,
            lambda: [head(maps) for head in heads],
            used=False,
            note='training only',
        )
        parts.append(part)
    return parts
