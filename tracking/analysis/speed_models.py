"""Trackers and frames to time: random weights that track calmly, photographs that move."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightvit_dense.errors import UserError

BACKBONES: dict[str, dict[str, Any]] = {
    'vit-tiny': dict(type='tracking.JointVisionTransformer', arch='tiny', elimination={}),
    'hiera-tiny': dict(type='tracking.JointHiera', arch='tiny', elimination={}),
}
"""What is timed, by name; both eliminate at a quarter, half and three quarters."""


@torch.no_grad()
def calm_head(model: Any, scale: float = 0.1, spread: float = 2.0) -> None:
    """Make random weights of a centre head say clearly where, and keep the size of the box.

    Random outputs would blow the box up to the frame, and near ties between cells would let no two
    ways of computing be compared over a sequence: rounding is all that they would show.

    Args:
        model: An :class:`OneStreamTracker` with a :class:`CenterHead`; the head's last weights are
            changed in place.
        scale: Factor of the last weights of size and offset.
        spread: Standard deviation of the scores before the sigmoid, on a photograph.
    """
    import cv2
    from skimage import data

    head, photo = model.head, data.astronaut()
    # A quarter of the search crop is the target's side; 0.5 is the middle of a cell.
    quarter = float(np.log(0.25 / 0.75))
    for branch, value in ((head.size, quarter), (head.offset, 0.5)):
        branch[-1].weight.mul_(scale)
        branch[-1].bias.fill_(value)
    crops = [
        torch.from_numpy(cv2.resize(photo, (side, side))).permute(2, 0, 1)[None]
        for side in (model.template_size, model.search_size)
    ]
    images = [model.data_preprocessor.normalize(crop) for crop in crops]
    mask = torch.ones(1, *model.backbone.template_grid, dtype=torch.bool)
    scores = head.score(model.backbone(*images, mask))
    factor = spread / scores.std()
    head.score[-1].weight.mul_(factor)
    head.score[-1].bias.copy_(factor * (head.score[-1].bias - scores.mean()))


def speed_tracker(name: str, seed: int = 0, **sizes: Any) -> nn.Module:
    """Return a tracker with random weights, in evaluation mode.

    Args:
        name: Key of ``BACKBONES``.
        seed: Of the weights.
        **sizes: Options of :class:`OneStreamTracker`, or ``arch`` of the backbone and ``channels``
            of the head.

    Raises:
        UserError: If the name is unknown.
    """
    from ..models import OneStreamTracker

    if name not in BACKBONES:
        raise UserError(f'{name!r} is no tracker to time; choose from {", ".join(BACKBONES)}')
    backbone = dict(BACKBONES[name])
    if 'arch' in sizes:
        backbone['arch'] = sizes.pop('arch')
    if 'patch_size' in sizes:
        backbone['patch_size'] = sizes.pop('patch_size')
    head = dict(type='tracking.CenterHead', channels=sizes.pop('channels', 256))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OneStreamTracker(backbone, head, **sizes).eval()
        for module in model.head.modules():
            if isinstance(module, nn.BatchNorm2d):
                # As after training: statistics that are not those of the first step.
                assert module.running_var is not None
                assert module.running_mean is not None
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.normal_(module.running_mean, std=0.1)
    calm_head(model)
    return model


def moving_frames(
    count: int, size: tuple[int, int] = (720, 1280)
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return frames in which a cut of one photograph moves over another.

    Args:
        count: Number of frames.
        size: Their height and width.

    Returns:
        RGB uint8 [H, W, 3] each, and the box [4] of the cut in the first one.
    """
    import cv2
    from skimage import data

    height, width = size
    back = cv2.resize(data.coffee(), (width, height), interpolation=cv2.INTER_CUBIC)
    side = height // 6
    cut = cv2.resize(data.astronaut()[0:220, 110:330], (side, side), interpolation=cv2.INTER_AREA)
    frames = []
    for index in range(count):
        angle = 2 * np.pi * index / 120
        left = round((width - side) * (0.5 + 0.3 * np.cos(angle)))
        top = round((height - side) * (0.5 + 0.3 * np.sin(angle)))
        frame = back.copy()
        frame[top : top + side, left : left + side] = cut
        frames.append(frame)
    first = np.array([round((width - side) * 0.8), round((height - side) * 0.5), side, side])
    return frames, first.astype(np.float64)


def video_frames(path: str | Path, count: int) -> list[np.ndarray]:
    """Return the first frames of a video, RGB uint8 [H, W, 3] each.

    Raises:
        UserError: If it cannot be read or has fewer than two frames.
    """
    import cv2

    reader = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while len(frames) < count:
        good, frame = reader.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    reader.release()
    if len(frames) < 2:
        raise UserError(f'{path}: a video of at least two readable frames is needed')
    return frames
