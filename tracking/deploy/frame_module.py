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
    raster: Tensor

    def __init__(self, backbone: Any, mean: Tensor, std: Tensor, eliminate: bool = True) -> None:
        super().__init__()
        self.backbone = copy.copy(backbone)  # the same weights, other options
        if not eliminate:
            self.backbone.final_keep_ratio = 1.0
        # Where early blocks look from one image into the other, nothing can be kept.
        self.apart = bool(getattr(backbone, 'apart', True))
        grid = backbone.search_grid
        places = backbone.from_raster(torch.arange(grid[0] * grid[1]), grid)
        self.register_buffer('raster', places.argsort())  # the cells of the model's tokens
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

    def forward(self, crop: Tensor, template: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the search tokens that are left [K, C] and their cells [K]."""
        search = self._normalize(crop)
        if self.apart:
            x = torch.cat([template, self.backbone.embed_search(search)], dim=1)
        else:
            x = self.backbone.embed_pair(template, search)
        x, index = self.backbone.run_joint(x, weights[None])
        cells = self.raster if index is None else self.raster[index[0]]
        return self.backbone.norm(x)[0], cells


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

    cells: Tensor

    def __init__(self, model: Any, window: bool, eliminate: bool = True) -> None:
        super().__init__()
        backbone, head = model.backbone.eval(), model.head.eval()
        mean, std = (getattr(model.data_preprocessor, name).flatten() for name in ('mean', 'std'))
        grid = backbone.search_grid
        count = grid[0] * grid[1]
        kept = backbone.candidates(count) if eliminate else {}
        self.template_grid, self._token_weights = backbone.template_grid, backbone.token_weights
        template = self.template_grid[0] * self.template_grid[1]
        ids = range(template) if backbone.token_ids is None else backbone.token_ids.tolist()
        self._rankers = len(ids)
        self.register_buffer('cells', torch.arange(count))
        self.encoder: Any
        if isinstance(backbone, JointVisionTransformer):
            self.encoder = OptimizedVit(backbone, mean, std, kept, [*ids])
        else:
            self.encoder = JointEncoder(backbone, mean, std, eliminate)
        self.head: Any
        if type(head) is CenterHead:
            branches = [folded_layers(branch) for branch in (head.score, head.size, head.offset)]
            few = 2 * min(kept.values(), default=count) <= count
            sides = (model.search_size, model.search_size)
            self.head = OptimizedCenterHead(branches, grid, sides, window, few)
        else:
            self.head = DenseBoxHead(head, grid, model.search_size, window)

    def template(self, crop: Tensor, box: Tensor) -> State:
        """Return what a template crop [h, w, 3] and the target's box [4] in parts of it give once.

        The last is how much each template token counts in the ranking of the candidates [R].
        """
        weights = self._token_weights(box_tokens(box[None], self.template_grid))
        if weights is None:
            weights = torch.full((1, self._rankers), 1 / self._rankers, device=box.device)
        return (*self.encoder.template(crop), weights[0])

    def forward(self, crop: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        """Find the target in a crop [H, W, 3] of 0..255.

        Returns x, y, width, height and score [5], and the search tokens left at the end [K].
        """
        tokens, cells = self.encoder(crop, *state)
        return self.head(tokens, cells), self.cells if cells is None else cells
