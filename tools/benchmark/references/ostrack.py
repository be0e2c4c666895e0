"""Our tracker computed as OSTrack's code computes it, and trackers to time (Ye et al. 2022).

The same modules and the same numbers, without what the runtime does differently: the whole border
is laid out before a crop is cut and resized, the crop is normalised afterwards, the template is
embedded anew with each frame, attention is explicit, eliminated tokens leave after the whole
attention, the template goes through the last MLP, batch norms stay, and size and offset are
computed everywhere.
"""

import time
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lightvit_dense_runtime.crops import clip_box, crop_window
from tracking.models import OneStreamTracker
from tracking.runtime.tracker import Timings, TrackResult

from .pipelines import cut_out
from .pretraining import explicit_attention


class OSTrackReference:
    """A loop over frames with the interface of :class:`~tracking.runtime.Tracker`.

    Takes a :class:`OneStreamTracker` on a plain vision transformer, with a centre head and
    ``template_tokens='center'``.
    """

    def __init__(self, model: Any, eliminate: bool = True) -> None:
        backbone = model.backbone
        self.model, self.timings = model.eval(), Timings()
        # The zeros of the windows lie one cell outside of the map.
        sides = [np.hanning(side + 2)[1:-1] for side in backbone.search_grid]
        self.window = torch.from_numpy(np.outer(*sides).astype(np.float32))
        count = backbone.search_grid[0] * backbone.search_grid[1]
        self.kept = backbone.candidates(count) if eliminate else {}

    def _process(self, crop: np.ndarray) -> Tensor:
        """Normalise a crop [H, W, 3]."""
        image, values = torch.tensor(crop).float(), self.model.data_preprocessor
        image = (image - values.mean.flatten()) / values.std.flatten()
        return image.permute(2, 0, 1)[None]

    def init(self, frame: np.ndarray, box: np.ndarray) -> None:
        """Take the first frame, RGB uint8 [H, W, 3], and the target's box in it."""
        window, side = crop_window(box, self.model.template_factor), self.model.template_size
        self.template = self._process(cut_out(frame, window, side))
        self.state = np.asarray(box, np.float64)

    @torch.no_grad()
    def update(self, frame: np.ndarray) -> TrackResult:
        """Find the target in the next frame."""
        size, began = self.model.search_size, time.perf_counter()
        window = crop_window(self.state, self.model.search_factor)
        crop = self._process(cut_out(frame, window, size))
        cut = time.perf_counter()
        head, features = self.model.head, self.encode(self.template, crop)
        score = (head.squash(head.score(features)) * self.window)[0, 0]
        sides, offset = head.squash(head.size(features)), head.offset(features)
        row, column = divmod(int(score.argmax()), score.shape[-1])
        center = torch.tensor([column, row]) + offset[0, :, row, column]
        pixels = torch.cat([center / score.shape[-1], sides[0, :, row, column]]) * size
        (x, y, w, h), value = pixels.tolist(), score[row, column].item()
        computed = time.perf_counter()
        box = window.to_image([x - 0.5 * w, y - 0.5 * h, w, h], size)
        self.state = clip_box(box, frame.shape[:2])
        self.timings.add((began, cut, computed, time.perf_counter()))
        return TrackResult(self.state, value)

    def encode(self, template: Tensor, search: Tensor) -> Tensor:
        """Return the map [1, C, rows, columns] of a pair of normalised crops."""
        vit = self.model.backbone
        z = vit.patch_embed.proj(template).flatten(2).transpose(1, 2) + vit.pos_embed_z
        x = vit.patch_embed.proj(search).flatten(2).transpose(1, 2) + vit.pos_embed
        count, total = z.shape[1], x.shape[1]
        tokens, places = torch.cat([z, x], dim=1), torch.arange(total)
        for index, block in enumerate(vit.blocks):
            out, _, weights = explicit_attention(block.attn, block.norm1(tokens))
            tokens = tokens + out
            if index in self.kept:
                looks = weights[:, :, :count, count:][:, :, vit.token_ids].mean((1, 2))
                best = looks[0].argsort(descending=True)[: self.kept[index]]
                tokens = torch.cat([tokens[:, :count], tokens[:, count:][:, best]], dim=1)
                places = places[best]
            tokens = tokens + block.mlp(block.norm2(tokens))
        x = vit.norm(tokens)[:, count:]
        x = torch.zeros(1, total, x.shape[2]).index_copy_(1, places, x)
        return x.transpose(1, 2).reshape(1, -1, *vit.search_grid).contiguous()


BACKBONES: dict[str, dict[str, Any]] = {
    'vit-tiny': dict(type='tracking.JointVisionTransformer', arch='tiny', elimination={}),
    'hiera-tiny': dict(type='tracking.JointHiera', arch='tiny', elimination={}),
}
"""What is timed, by name; both eliminate at a quarter, half and three quarters."""
_SMALL = {
    'vit-tiny': dict(arch=dict(embed_dim=24, depth=4, num_heads=3), patch_size=8),
    'hiera-tiny': dict(arch=dict(embed_dim=8, stages=(1, 1, 4, 1), num_heads=1)),
}


@torch.no_grad()
def _calm_head(model: Any) -> None:
    """Make random weights of a centre head say clearly where, and keep the size of the box.

    Else the box would grow to the frame, and near ties between cells would show rounding alone.
    """
    from skimage import data

    head, photo = model.head, data.astronaut()
    # A quarter of the search crop is the target's side; 0.5 is the middle of a cell.
    for branch, value in ((head.size, float(np.log(0.25 / 0.75))), (head.offset, 0.5)):
        branch[-1].weight.mul_(0.1)
        branch[-1].bias.fill_(value)
    crops = [
        torch.from_numpy(cv2.resize(photo, (side, side))).permute(2, 0, 1)[None]
        for side in (model.template_size, model.search_size)
    ]
    images = [model.data_preprocessor.normalize(crop) for crop in crops]
    mask = torch.ones(1, *model.backbone.template_grid, dtype=torch.bool)
    scores = head.score(model.backbone(*images, mask))
    factor = 2 / scores.std()  # of the scores before the sigmoid
    head.score[-1].weight.mul_(factor)
    head.score[-1].bias.copy_(factor * (head.score[-1].bias - scores.mean()))


def build_tracker(name: str, small: bool = False) -> nn.Module:
    """Return one of ``BACKBONES`` with random weights as a tracker, in evaluation mode."""
    backbone, channels, sizes = BACKBONES[name], 256, {}
    if small:
        backbone, channels = backbone | _SMALL[name], 16
        sizes = dict(template_size=64, search_size=128)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = dict(type='tracking.CenterHead', channels=channels)
        model = OneStreamTracker(dict(backbone), head, **sizes).eval()
        for module in model.head.modules():
            if isinstance(module, nn.BatchNorm2d):
                # As after training: statistics that are not those of the first step.
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.normal_(module.running_mean, std=0.1)
    _calm_head(model)
    return model


def moving_frames(
    count: int, size: tuple[int, int] = (720, 1280)
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return frames, RGB uint8 [H, W, 3], in which a cut of one photograph moves over another.

    The second value is the box [4] of the cut in the first one; ``size`` is height and width.
    """
    from skimage import data

    height, width = size
    back = cv2.resize(data.coffee(), (width, height), interpolation=cv2.INTER_CUBIC)
    side = height // 6
    cut = cv2.resize(data.astronaut()[0:220, 110:330], (side, side), interpolation=cv2.INTER_AREA)
    angles = 2 * np.pi * np.arange(count) / 120
    lefts = ((width - side) * (0.5 + 0.3 * np.cos(angles))).round().astype(int)
    tops = ((height - side) * (0.5 + 0.3 * np.sin(angles))).round().astype(int)
    frames = [back.copy() for _ in angles]
    for frame, left, top in zip(frames, lefts, tops, strict=True):
        frame[top : top + side, left : left + side] = cut
    return frames, np.array([lefts[0], tops[0], side, side], np.float64)
