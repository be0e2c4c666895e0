"""The one-stream tracker: a joint backbone and a dense head (OSTrack, Ye et al. 2022)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from lightvit_dense.errors import UserError, require_known
from lightvit_dense.models.backbones.sizes import pair

from ..registry import MODELS
from ..structures import TrackSample
from .heads import Maps, decode
from .ostrack_names import from_ostrack, is_ostrack

LOSS_WEIGHTS = dict(score=1.0, giou=2.0, l1=5.0)
TEST_CFG = dict(window=True, margin=10.0)


def _with_defaults(options: Mapping[str, Any] | None, known: dict, what: str) -> dict[str, Any]:
    """Fill up options, refusing names that nothing reads."""
    for name in options or {}:
        require_known(name, known, f'{what} of OneStreamTracker')
    return {**known, **(options or {})}


def box_tokens(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the tokens whose centre is in a box, and the one at its centre [B, rows, columns]."""
    rows, columns = grid
    inside = []
    for axis, count in ((1, rows), (0, columns)):
        low, side = boxes[:, axis : axis + 1], boxes[:, axis + 2 : axis + 3]
        cells = torch.arange(count, device=boxes.device)
        place = (cells + 0.5) / count
        covered = (place >= low) & (place < low + side)  # [B, count]
        nearest = ((low + side / 2) * count).floor().clamp(0, count - 1)
        inside.append((covered, cells == nearest))
    (covered_y, middle_y), (covered_x, middle_x) = inside
    box = covered_y[:, :, None] & covered_x[:, None]
    return box | (middle_y[:, :, None] & middle_x[:, None])


@MODELS.register_module()
class OneStreamTracker(BaseModel):
    """Find the target of a template in a search image.

    Args:
        backbone: Config of :class:`JointVisionTransformer` or :class:`JointHiera`; it gets the
            sizes of the images from here.
        head: Config of :class:`CenterHead` or another dense head; it gets ``in_channels``.
        data_preprocessor: Config of the normaliser; :class:`PairPreprocessor` by default.
        template_size: Side of the template crop in pixels.
        search_size: Side of the search crop in pixels.
        template_factor: Side of the template crop over the root of the box's area.
        search_factor: The same of the search crop.
        loss_weights: Of 'score' (1), 'giou' (2) and 'l1' (5).
        test_cfg: For tracking: ``window`` (True), whether a Hann window favours the middle of the
            search crop, and ``margin`` (10), how many pixels of a box stay in the image at least.
        init_cfg: mmengine initialisation config.
    """

    task: ClassVar[str] = 'tracking'

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
        template_size: int = 128,
        search_size: int = 256,
        template_factor: float = 2.0,
        search_factor: float = 4.0,
        loss_weights: dict[str, float] | None = None,
        test_cfg: dict[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='tracking.PairPreprocessor'), init_cfg)
        for name, size in (('template_size', template_size), ('search_size', search_size)):
            if pair(backbone.get(name, size)) != (size, size):
                raise ValueError(
                    f'backbone.{name}={backbone[name]} contradicts {name}={size} of the tracker; '
                    'give it to the tracker only'
                )
        if min(template_factor, search_factor) < 1:
            raise ValueError(
                f'template_factor={template_factor} and search_factor={search_factor}: a crop '
                'below 1 is smaller than the target'
            )
        sizes = dict(template_size=template_size, search_size=search_size)
        self.backbone = MODELS.build({**backbone, **sizes})
        self.head = MODELS.build(dict(in_channels=self.backbone.embed_dims) | head)
        self.template_size, self.search_size = template_size, search_size
        self.template_factor, self.search_factor = template_factor, search_factor
        self.loss_weights = _with_defaults(loss_weights, LOSS_WEIGHTS, 'loss_weights')
        self.test_cfg = _with_defaults(test_cfg, TEST_CFG, 'test_cfg')

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters of a tracker by our names; other files come back as they are."""
        return from_ostrack(state) if is_ostrack(state) else state

    def cost_calls(self, device: Any) -> list[tuple[str, nn.Module, Callable[[], Any]]]:
        """Return the parts that a frame needs, each with a call that runs it on zeros."""
        grid, width = self.backbone.search_grid, self.backbone.embed_dims
        images = [torch.zeros(1, 3, *pair(s), device=device) for s in self.sizes]
        features = torch.zeros(1, width, *grid, device=device)
        mask = None
        if self.backbone.template_tokens == 'box':
            mask = torch.ones(1, *self.backbone.template_grid, dtype=torch.bool, device=device)
        return [
            ('backbone', self.backbone, lambda: self.backbone(*images, mask)),
            ('head', self.head, lambda: self.head(features)),
        ]

    @property
    def sizes(self) -> tuple[int, int]:
        """Sides of template and search crop in pixels."""
        return self.template_size, self.search_size

    def template_mask(self, samples: Sequence[TrackSample] | None, device: Any) -> Tensor | None:
        """Return the template's tokens that the targets cover, ``None`` if nothing reads them."""
        if self.backbone.template_tokens != 'box':
            return None
        boxes = self._boxes(samples, 'template_box', "template_tokens='box'")
        return box_tokens(boxes.to(device, non_blocking=True), self.backbone.template_grid)

    @staticmethod
    def _boxes(samples: Sequence[TrackSample] | None, name: str, who: str) -> Tensor:
        """Collect a kind of box of a batch: fp32 [B, 4]."""
        if not samples or not all(name in sample for sample in samples):
            raise ValueError(f'{who} needs data_samples with {name}: take tracking.PairDataset')
        boxes = [torch.as_tensor(sample.get(name)).float() for sample in samples]
        return torch.stack(boxes)

    def maps(
        self, inputs: Mapping[str, Tensor], samples: Sequence[TrackSample] | None = None
    ) -> Maps:
        """Return what the head says of every cell; takes what :meth:`forward` takes."""
        mask = self.template_mask(samples, inputs['search'].device)
        return self.head(self.backbone(inputs['template'], inputs['search'], mask))

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        data_samples: list[TrackSample] | None = None,
        mode: str = 'tensor',
    ) -> Maps | dict[str, Tensor] | list[TrackSample]:
        """Run the model the way mmengine asks.

        Args:
            inputs: Normalised 'template' [B, 3, h, w] and 'search' [B, 3, H, W].
            data_samples: One a pair.
            mode: 'tensor' for the :class:`Maps`; 'loss' for the weighted losses, which reads
                ``search_box``; 'predict' for samples with ``pred_box`` and ``pred_score``.
        """
        modes: dict[str, Callable[..., Any]] = dict(
            tensor=self.maps, loss=self.loss, predict=self.predict
        )
        if mode not in modes:
            raise ValueError(f"mode is 'tensor', 'loss' or 'predict', got {mode!r}")
        return modes[mode](inputs, data_samples)

    def loss(
        self, inputs: Mapping[str, Tensor], samples: Sequence[TrackSample] | None
    ) -> dict[str, Tensor]:
        """Return the weighted losses of a batch of pairs, and the mean IoU for the log."""
        boxes = self._boxes(samples, 'search_box', 'training')
        boxes = boxes.to(inputs['search'].device, non_blocking=True)
        terms = self.head.loss(self.maps(inputs, samples), boxes)
        losses = {f'loss_{name}': self.loss_weights[name] * terms[name] for name in LOSS_WEIGHTS}
        # 'IoU' is validation's, in percent.
        return {**losses, 'train_IoU': terms['IoU']}

    def predict(
        self, inputs: Mapping[str, Tensor], samples: list[TrackSample] | None
    ) -> list[TrackSample]:
        """Return the samples with what was found, decoded without the window."""
        if not inputs:
            raise UserError(
                'the model predicts for pairs of crops (tracking.PairDataset); whole sequences are '
                "tracked by test_cfg = dict(type='tracking.SequenceTestLoop')"
            )
        boxes, scores = decode(self.maps(inputs, samples))
        found = samples if samples else [TrackSample() for _ in boxes]
        for sample, box, score in zip(found, boxes, scores, strict=True):
            sample.pred_box, sample.pred_score = box, score
        return found
