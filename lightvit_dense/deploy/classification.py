"""Classifiers, and backbones alone."""

from typing import Any

from mmengine.config import Config
from torch import Tensor

from ..apis.configs import tested_dataset
from ..apis.images import evaluation_pipeline, resized_pipeline
from ..registry import GRAPHS, MODELS
from ..representation import to_map
from .graph import Graph, Size
from .preprocess import Preprocess


@GRAPHS.register_module()
class ClassificationGraph(Graph):
    """Images to probabilities ``scores`` float32 [B, classes]."""

    task = 'classification'
    output_names = ('scores',)

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        pipeline = tested_dataset(cfg).pipeline
        if size is not None:
            pipeline = resized_pipeline(pipeline, size)
        self.prepare = Preprocess(pipeline, model.data_preprocessor)
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Classify images uint8 [B, H, W, 3]."""
        return self.model(self.prepare(image)[0]).softmax(-1)


@GRAPHS.register_module()
class FeaturesGraph(Graph):
    """Images to ``features`` float32 [B, C], means over patches, and ``map`` [B, C, h, w].

    Pictures go through the test transforms of ImageNet, or through a classifier's own.
    """

    task = 'features'
    output_names = ('features', 'map')

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        self.backbone = getattr(model, 'backbone', model)
        self.pixels = size or tuple(
            side * self.backbone.patch_size for side in self.backbone.grid_size
        )
        pipeline = evaluation_pipeline(self.pixels)
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
        self.prepare = Preprocess(pipeline, preprocessor)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features of images uint8 [B, H, W, 3]."""
        tokens = self.backbone.encode(self.prepare(image)[0]).tokens
        places = to_map(self.backbone, tokens, self.pixels)  # [B, rows, columns, C]
        return places.mean((1, 2)), places.permute(0, 3, 1, 2).contiguous()
