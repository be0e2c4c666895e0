"""One frame of a tracker as a module: raw crops in, box and score out, nothing needless between."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..models.decoding import hann_window
from ..models.heads import CenterHead, decode
from ..models.joint_vit import JointVisionTransformer
from ..models.one_stream import box_tokens
from .optimized_head import OptimizedCenterHead, folded_layers
from .optimized_vit import OptimizedVit

State = tuple[Tensor, ...]


class JointEncoder(nn.Module):
    """Any joint backbone, called the way it is trained but for the template's embedding."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Any, mean: Tensor, std: Tensor, eliminate: bool = True) -> None:
        super().__init__()
        self.backbone = copy.copy(backbone)  # the same weights, other options
        if not eliminate:
            self.backbone.final_keep_ratio = 1.0
        # Where early blocks look from one image into the other, nothing can be kept.
        self.apart = bool(getattr(backbone, 'apart', True))
        self.register_buffer('mean', mean.reshape(3, 1, 1).clone())
        self.register_buffer('std', std.reshape(3, 1, 1).clone())

    def _normalize(self, crop: Tensor) -> Tensor:
        """Bring a crop [H, W, 3] to [1, 3, H, W]."""
        # Laid out first: along rows of 3 channels no arithmetic is fast.
        image = crop.permute(2, 0, 1).contiguous().float()
        return ((image - self.mean) / self.std)[None]

    def template(self, crop: Tensor) -> State:
        """Return the embedded template; its pixels if it cannot be embedded alone."""
        image = self._normalize(crop)
        return (self.backbone.embed_template(image) if self.apart else image,)

    def forward(self, crop: Tensor, template: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Return search tokens [N, C], zeros where they were eliminated."""
        search = self._normalize(crop)
        boxes = mask if self.backbone.template_tokens == 'box' else None
        if self.apart:
            found = self.backbone.join(template, self.backbone.embed_search(search), boxes)
        else:
            found = self.backbone(template, search, boxes)
        # [1, C, rows, columns] -> [N, C]
        return found[0].flatten(1).t(), None


class DenseBoxHead(nn.Module):
    """Any dense head, and the best box of its maps; called as :class:`OptimizedCenterHead`."""

    window: Tensor

    def __init__(self, head: Any, grid: tuple[int, int], crop: int, window: bool) -> None:
        super().__init__()
        self.head, self.grid, self.crop = head, grid, crop
        table = torch.from_numpy(hann_window(*grid)) if window else torch.ones(grid)
        self.register_buffer('window', table)

    def forward(self, tokens: Tensor, cells: Tensor | None = None) -> Tensor:
        """Find the target among tokens [K, C] at cells [K]."""
        if cells is not None:
            zeros = tokens.new_zeros(self.grid[0] * self.grid[1], tokens.shape[1])
            tokens = zeros.index_copy(0, cells, tokens)
        maps = self.head(tokens.t().reshape(1, tokens.shape[1], *self.grid))
        boxes, scores = decode(maps, self.window)
        return torch.cat([boxes[0] * self.crop, scores])


class FrameModule(nn.Module):
    """The network of one frame of an :class:`OneStreamTracker`, whose weights are copied or shared.

    A plain vision transformer and a centre head are taken apart and put together anew; other
    backbones and heads are called as they are. ``eliminate=False`` keeps all search tokens.
    """

    def __init__(self, model: Any, window: bool, eliminate: bool = True) -> None:
        super().__init__()
        backbone, head = model.backbone.eval(), model.head.eval()
        mean, std = (getattr(model.data_preprocessor, name).flatten() for name in ('mean', 'std'))
        grid = backbone.search_grid
        count = grid[0] * grid[1]
        kept = backbone.candidates(count) if eliminate else {}
        plain = isinstance(backbone, JointVisionTransformer)
        self.encoder: Any
        if plain:
            template = backbone.template_grid[0] * backbone.template_grid[1]
            ids = range(template) if backbone.token_ids is None else backbone.token_ids.tolist()
            self.encoder = OptimizedVit(backbone, mean, std, kept, [*ids])
        else:
            self.encoder = JointEncoder(backbone, mean, std, eliminate)
        self.head: Any
        if type(head) is CenterHead:
            branches = [folded_layers(branch) for branch in (head.score, head.size, head.offset)]
            few = plain and 2 * min(kept.values(), default=count) <= count
            sides = (model.search_size, model.search_size)
            self.head = OptimizedCenterHead(branches, grid, sides, window, few)
        else:
            self.head = DenseBoxHead(head, grid, model.search_size, window)

    def template(self, crop: Tensor) -> State:
        """Return what a template crop [h, w, 3] gives once."""
        return self.encoder.template(crop)

    def forward(self, crop: Tensor, *state: Tensor) -> Tensor:
        """Find the target in a crop [H, W, 3] of 0..255: [5] x, y, width, height, score."""
        return self.head(*self.encoder(crop, *state))


def ranking_weights(model: Any, box: Tensor) -> Tensor:
    """Return what the encoder needs of the target's box [4], in parts of the template crop.

    The plain backbone needs the weights of the template tokens in the ranking of candidates [R],
    others the mask of template tokens, bool [1, rows, columns].
    """
    backbone = model.backbone
    mask = box_tokens(box[None].to(next(backbone.parameters()).device), backbone.template_grid)
    if not isinstance(backbone, JointVisionTransformer):
        return mask
    weights = backbone.token_weights(mask)
    if weights is not None:
        return weights[0]
    count = mask[0].numel() if backbone.token_ids is None else len(backbone.token_ids)
    return torch.full((count,), 1 / count, device=mask.device)
