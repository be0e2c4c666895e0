"""Segmentors: an image of any size to the class of each of its pixels."""

from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..apis.configs import tested_dataset
from ..errors import UserError
from ..models.pad_shape import pad_shape_of
from ..registry import GRAPHS
from .graph import Graph, Size
from .pooling import with_fixed_pools
from .preprocess import Preprocess, divide, resize, resize_weights, side_of

STRIPS = 16
"""Parts of an image whose scores are made one after another: those of all pixels take memory."""


@GRAPHS.register_module()
class SegmentationGraph(Graph):
    """Images to ``labels`` uint8 [B, H, W], int32 of more than 256 classes.

    The network sees windows of one size; in the mode 'whole' a single one. To enlarge its scores,
    to average windows and to resize to the image is linear along each axis, so one matrix does all.

    Args:
        model: Segmentor.
        cfg: Its config.
        size: (height, width) of all images; None for any.

    Raises:
        UserError: If the mode is 'whole' and sizes of padded images differ.
    """

    task = 'segmentation'
    output_names = ('labels',)

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        self.size = size
        self.prepare = Preprocess(tested_dataset(cfg)['pipeline'], model.data_preprocessor, (1, 1))
        self.model: Any = with_fixed_pools(model)
        self.window: Size = model.window or self._padded(model)
        self.stride: Size = model.stride if model.window else self.window
        self.counts: list[int] | None = None if model.window else [1, 1]
        if size is not None:
            sides = self._resized(size)
            self.counts = [len(self._starts(side, axis)) for axis, side in enumerate(sides)]

    def _resized(self, size: Size) -> tuple[Tensor, Tensor]:
        return self.prepare.resized_size(*torch.tensor(size))

    def _padded(self, model: Any) -> Size:
        """Return the only size of padded images of the mode 'whole'."""
        if self.size is not None:
            sides = [int(side) for side in self._resized(self.size)]
            return pad_shape_of(sides, model.pad_shape, model.size_divisor)
        long = self.prepare.scale[1]
        if min(model.pad_shape) < long:
            raise UserError(
                f"test_cfg.mode='whole' pads an image of up to {long} px to a size of its own, but "
                "a file's network has one: give images of one size (--size HEIGHT WIDTH), or set "
                f"test_cfg.mode='slide' or model.pad_shape={long}"
            )
        return model.pad_shape

    def example(self) -> tuple[Tensor, ...]:
        """Return two images, or one of the fixed size."""
        if self.size is None:
            return super().example()
        return (torch.zeros(1, *self.size, 3, dtype=torch.uint8),)

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Return the free axes; none of images of a fixed size."""
        return super().dynamic_shapes() if self.size is None else {'image': {}}

    def refuse(self, to: str) -> str | None:
        """Return why a runtime cannot run this model, with the remedy; None if it can."""
        if to == 'executorch' and self.size is None:
            return 'windows or sizes that depend on the image: add --size HEIGHT WIDTH'
        return None

    def forward(self, image: Tensor) -> Tensor:
        """Segment images uint8 [B, H, W, 3]."""
        batch, height, width = image.shape[:3]
        down, across = self.prepare.resized_size(side_of(image, 1), side_of(image, 2))
        tops, lefts = self._starts(down, 0), self._starts(across, 1)
        windows = self._cut(image, (down, across), (tops, lefts))
        # [B*R*C, classes, h, w]
        scores = self.model.decode_head(self.model.extract_feat(windows))
        classes, *cells = scores.shape[1:]
        # -> [B, R, C, classes, h, w] -> [B, R, h, C, w, classes] -> [B, R*h, C*w, classes]
        scores = scores.reshape(batch, tops.shape[0], lefts.shape[0], classes, *cells)
        scores = scores.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2)
        # Along the rows, for all columns and classes at once: [B, R*h, W*classes]
        scores = self._weights(torch.arange(width), width, across, lefts, 1, cells[1]) @ scores
        scores = scores.flatten(2)
        strip = (height + 2 * STRIPS - 1) // STRIPS  # at least 2, which leaves it free
        rows = torch.arange(STRIPS * strip).clamp(max=height - 1)
        weights = self._weights(rows, height, down, tops, 0, cells[0])
        dtype = torch.uint8 if classes <= 256 else torch.int32
        labels = [
            (part @ scores).unflatten(2, (width, classes)).argmax(-1).to(dtype)
            for part in weights.reshape(STRIPS, strip, -1).unbind(0)
        ]
        return torch.cat(labels, 1)[:, torch.arange(height)]

    def _starts(self, side: Tensor, axis: int) -> Tensor:
        """Return the first pixels of the windows along a side of the resized image."""
        count: Any
        window, stride = self.window[axis], self.stride[axis]
        last = (side - window).clamp(min=0)
        if self.counts is not None:
            count = self.counts[axis]
        else:
            count = (divide(last + stride - 1, torch.tensor(stride)) + 1).item()
            most = max(self.prepare.scale[1] - window, 0) // stride + 2
            torch._check(count >= 1)
            torch._check(count <= most)
        return torch.minimum(torch.arange(count) * stride, last)

    def _cut(self, image: Tensor, sides: tuple, starts: tuple) -> Tensor:
        """Return the normalised windows [B*R*C, 3, h, w] of images, zeros beyond them."""
        (tall, wide), prepare, weights, inside = self.window, self.prepare, [], []
        for axis, (side, first) in enumerate(zip(sides, starts, strict=True)):
            places = (first[:, None] + torch.arange(self.window[axis])).flatten()
            weights.append(resize_weights(image.shape[1 + axis], side, places, prepare.method))
            inside.append(places < side)
        pixels = resize(
            image.flip(-1) if prepare.bgr else image, weights[0], weights[1], prepare.method
        )
        pixels = (pixels - prepare.mean) / prepare.std * (inside[0][:, None] & inside[1])
        # [B, 3, R*h, C*w] -> [B, 3, R, h, C, w] -> [B, R, C, 3, h, w]
        pixels = pixels.unflatten(3, (-1, wide)).unflatten(2, (-1, tall))
        return pixels.permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, tall, wide)

    def _weights(
        self, pixels: Tensor, length: int, side: Tensor, starts: Tensor, axis: int, cells: int
    ) -> Tensor:
        """Return by which weights [n, windows*cells] scores of windows make those of pixels [n].

        ``length`` is the image's, ``side`` the resized image's, ``cells`` a window's of scores.
        """
        window, total = self.window[axis], torch.zeros(())
        place = self._place(pixels, torch.full((), length), side)
        above = place.floor()
        for row, share in (
            (above, 1 - (place - above)),
            (torch.minimum(above + 1, side - 1), place - above),
        ):
            inner = row[:, None] - starts  # [n, windows]
            inside = (inner >= 0) & (inner < window)
            share = share[:, None] * inside / inside.sum(1, keepdim=True)
            cell = self._place(inner, torch.tensor(window), torch.tensor(cells))
            hats = (1 - (cell[..., None] - torch.arange(cells)).abs()).clamp(min=0)
            total = total + share[..., None] * hats
        return total.flatten(1)

    def _place(self, pixels: Tensor, length: Tensor, cells: Tensor) -> Tensor:
        """Return the places of pixels of an axis among its cells, as bilinear resizing has them."""
        if self.model.align_corners:
            return pixels * ((cells - 1) / (length - 1).clamp(min=1))
        return ((pixels + 0.5) * (cells / length) - 0.5).clamp(min=0).minimum(cells - 1)
