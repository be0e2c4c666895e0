"""Our tracker computed the way OSTrack's code computes it, to be timed (Ye et al. 2022).

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
from torch import Tensor

from ..boxes import clip_box
from ..models.decoding import hann_window
from ..models.heads import CenterHead
from ..models.joint_vit import JointVisionTransformer
from ..sampling.crops import CropWindow, crop_window


def cut_out(image: np.ndarray, window: CropWindow, out: int) -> np.ndarray:
    """Cut a square, its padding laid out, and resize it.

    Args:
        image: RGB uint8 [H, W, 3].
        window: The square.
        out: Side of the result in pixels.

    Returns:
        RGB uint8 [out, out, 3].
    """
    left, top = window.x, window.y
    right, bottom = left + window.side, top + window.side
    across = (max(0, -left), max(right - image.shape[1], 0))
    down = (max(0, -top), max(bottom - image.shape[0], 0))
    inner = image[top + down[0] : bottom - down[1], left + across[0] : right - across[1]]
    square = cv2.copyMakeBorder(inner, *down, *across, cv2.BORDER_CONSTANT)
    return cv2.resize(square, (out, out))


class OSTrackWay:
    """A loop over frames with the interface of :class:`~tracking.runtime.Tracker`.

    Args:
        model: An :class:`OneStreamTracker` on a plain vision transformer, with a centre head and
            ``template_tokens='center'``.
        eliminate: False to keep all search tokens.

    Attributes:
        last: Seconds of the last update: 'crop' (with normalisation), 'network' and 'post'.

    Raises:
        ValueError: If it is another model.
    """

    def __init__(self, model: Any, eliminate: bool = True) -> None:
        backbone = model.backbone
        if not isinstance(backbone, JointVisionTransformer) or type(model.head) is not CenterHead:
            raise ValueError(
                f'OSTrack computes no {type(backbone).__name__} with a {type(model.head).__name__}'
            )
        self.model = model.eval()
        self.mean = model.data_preprocessor.mean.reshape(1, 3, 1, 1)
        self.std = model.data_preprocessor.std.reshape(1, 3, 1, 1)
        self.window = torch.from_numpy(hann_window(*backbone.search_grid))
        self.state = np.zeros(4)
        self.last: dict[str, float] = {}
        self.template = torch.empty(0)
        count = backbone.search_grid[0] * backbone.search_grid[1]
        self.kept = backbone.candidates(count) if eliminate else {}

    def _process(self, crop: np.ndarray) -> Tensor:
        """Normalise a crop [H, W, 3]."""
        image = torch.tensor(crop).float().permute(2, 0, 1)[None]
        return (image - self.mean) / self.std

    def init(self, frame: np.ndarray, box: np.ndarray) -> None:
        """Take the first frame, RGB uint8 [H, W, 3], and the target's box in it."""
        model = self.model
        window = crop_window(box, model.template_factor)
        self.template = self._process(cut_out(frame, window, model.template_size))
        self.state = np.asarray(box, np.float64)

    @torch.no_grad()
    def update(self, frame: np.ndarray) -> np.ndarray:
        """Find the target in the next frame; returns its box [4] in pixels."""
        size, began = self.model.search_size, time.perf_counter()
        window = crop_window(self.state, self.model.search_factor)
        crop = self._process(cut_out(frame, window, size))
        cut = time.perf_counter()
        x, y, w, h = self.find(crop)
        computed = time.perf_counter()
        box = window.to_image([x - 0.5 * w, y - 0.5 * h, w, h], size)
        self.state = clip_box(box, frame.shape[:2])
        ends = (cut, computed, time.perf_counter())
        self.last = dict(
            zip(('crop', 'network', 'post'), np.diff([began, *ends]).tolist(), strict=True)
        )
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
