"""Our tracker computed the way OSTrack's code computes it, to be timed (Ye et al. 2022).

The same modules and the same numbers, without what the runtime does differently: the whole border
is laid out before a crop is cut and resized, the crop is normalised afterwards, the template is
embedded anew with each frame, attention is explicit, eliminated tokens leave after the whole
attention, the template goes through the last MLP, batch norms stay, and size and offset are
computed everywhere.
"""

import math
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..boxes import clip_box
from ..runtime.decoding import hann_window


def cut_out(
    image: np.ndarray, box: np.ndarray, factor: float, out: int
) -> tuple[np.ndarray, float]:
    """Cut a square around a box and resize it.

    Args:
        image: RGB uint8 [H, W, 3].
        box: x, y, width, height in pixels.
        factor: Side of the square over the root of the box's area.
        out: Side of the result in pixels.

    Returns:
        RGB uint8 [out, out, 3] and its pixels per pixel of the image.
    """
    x, y, w, h = box
    side = math.ceil(math.sqrt(w * h) * factor)
    left, top = round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)
    right, bottom = left + side, top + side
    outside = (max(0, -left), max(right - image.shape[1] + 1, 0))
    above = (max(0, -top), max(bottom - image.shape[0] + 1, 0))
    inner = image[top + above[0] : bottom - above[1], left + outside[0] : right - outside[1]]
    square = cv2.copyMakeBorder(inner, *above, *outside, cv2.BORDER_CONSTANT)
    return cv2.resize(square, (out, out)), out / side


class OSTrackWay:
    """A loop over frames with the interface of :class:`~tracking.runtime.Tracker`.

    Args:
        model: An :class:`OneStreamTracker` on a plain vision transformer, with a centre head and
            ``template_tokens='center'``.

    Raises:
        ValueError: If it is another model.
    """

    def __init__(self, model: Any) -> None:
        backbone = model.backbone
        if not hasattr(backbone, 'pos_embed_z') or not hasattr(backbone, 'grid_size'):
            raise ValueError(f'OSTrack has no way for a {type(backbone).__name__}')
        self.model = model.eval()
        self.mean = model.data_preprocessor.mean.reshape(1, 3, 1, 1)
        self.std = model.data_preprocessor.std.reshape(1, 3, 1, 1)
        self.window = torch.from_numpy(hann_window(*backbone.search_grid))
        self.state = np.zeros(4)
        self.template = torch.empty(0)
        self.kept = backbone.candidates(backbone.search_grid[0] * backbone.search_grid[1])

    def _process(self, crop: np.ndarray) -> Tensor:
        """Normalise a crop [H, W, 3]."""
        image = torch.tensor(crop).float().permute(2, 0, 1)[None]
        return (image - self.mean) / self.std

    def init(self, frame: np.ndarray, box: np.ndarray) -> None:
        """Take the first frame, RGB uint8 [H, W, 3], and the target's box in it."""
        model = self.model
        crop, _ = cut_out(frame, box, model.template_factor, model.template_size)
        self.template, self.state = self._process(crop), np.asarray(box, np.float64)

    @torch.no_grad()
    def update(self, frame: np.ndarray) -> np.ndarray:
        """Find the target in the next frame; returns its box in pixels."""
        model = self.model
        size = model.search_size
        crop, scale = cut_out(frame, self.state, model.search_factor, size)
        x, y, w, h = (value / scale for value in self.find(self._process(crop)))
        half = 0.5 * size / scale
        x += self.state[0] + 0.5 * self.state[2] - half
        y += self.state[1] + 0.5 * self.state[3] - half
        box = np.array([x - 0.5 * w, y - 0.5 * h, w, h])
        self.state = clip_box(box, frame.shape[:2])
        return self.state

    def find(self, search: Tensor) -> list[float]:
        """Return the box of a normalised crop [1, 3, H, W]: centre and size in its pixels."""
        head = self.model.head
        features = self.encode(self.template, search)
        score = head.squash(head.score(features))
        size, offset = head.squash(head.size(features)), head.offset(features)
        side = score.shape[-1]
        _, best = torch.max((score * self.window).flatten(1), dim=1, keepdim=True)
        row, column = best // side, best % side
        pick = best[:, None].expand(-1, 2, -1)
        size, offset = (m.flatten(2).gather(2, pick)[..., 0] for m in (size, offset))
        center = torch.cat([column + offset[:, :1], row + offset[:, 1:]], dim=1) / side
        return (torch.cat([center, size], dim=1)[0] * self.model.search_size).tolist()

    def encode(self, template: Tensor, search: Tensor) -> Tensor:
        """Return the map [1, C, rows, columns] of a pair of normalised crops."""
        vit = self.model.backbone
        z = vit.patch_embed.proj(template).flatten(2).transpose(1, 2) + vit.pos_embed_z
        x = vit.patch_embed.proj(search).flatten(2).transpose(1, 2) + vit.pos_embed
        count, total = z.shape[1], x.shape[1]
        tokens = torch.cat([z, x], dim=1)
        places = torch.arange(total)[None]
        removed: list[Tensor] = []
        for index, block in enumerate(vit.blocks):
            out, shares = self._attend(block.attn, block.norm1(tokens))
            tokens = tokens + out
            if index in self.kept:
                tokens, places, gone = self._eliminate(
                    tokens, shares, places, count, self.kept[index]
                )
                removed.append(gone)
            tokens = tokens + block.mlp(block.norm2(tokens))
        x = vit.norm(tokens)[:, count:]
        if removed:
            gone = torch.cat(removed, dim=1)
            x = torch.cat([x, x.new_zeros(1, gone.shape[1], x.shape[2])], dim=1)
            order = torch.cat([places, gone], dim=1)
            x = torch.zeros_like(x).scatter_(1, order[..., None].expand(-1, -1, x.shape[2]), x)
        return x.transpose(1, 2).reshape(1, -1, *vit.search_grid).contiguous()

    @staticmethod
    def _attend(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what attention adds to tokens [1, N, C], and its shares [1, heads, N, N]."""
        batch, tokens, width = x.shape
        heads = attention.num_heads
        # [B, N, 3*C] -> [3, B, heads, N, d]
        qkv = attention.qkv(x).reshape(batch, tokens, 3, heads, width // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        shares = ((q @ k.transpose(-2, -1)) * attention.scale).softmax(-1)
        # [B, heads, N, d] -> [B, N, C]
        out = (shares @ v).transpose(1, 2).reshape(batch, tokens, width)
        return attention.proj(out), shares

    def _eliminate(
        self, tokens: Tensor, shares: Tensor, places: Tensor, count: int, keep: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens that stay, their places and those of the others."""
        looks = shares[:, :, :count, count:][:, :, self.model.backbone.token_ids]
        order = looks.mean((1, 2)).argsort(dim=1, descending=True)
        best, rest = order[:, :keep], order[:, keep:]
        stay = tokens[:, count:].gather(1, best[..., None].expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([tokens[:, :count], stay], dim=1)
        return tokens, places.gather(1, best), places.gather(1, rest)
