"""Classifiers, and backbones alone."""

from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..apis.configs import tested_dataset
from ..apis.images import evaluation_pipeline, resized_pipeline
from ..registry import GRAPHS
from ..representation import to_map
from ..utils.constants import IMAGENET_MEAN, IMAGENET_STD
from .graph import Graph, Size
from .preprocess import Preprocess


@GRAPHS.register_module()
class ClassificationGraph(Graph):
    """Images to probabilities ``scores`` float32 [B, classes]."""

    task = 'classification'
    output_names = ('scores',)

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        pipeline = tested_dataset(cfg)['pipeline']
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

    Pictures go through the test transforms of ImageNet.
    """

    task = 'features'
    output_names = ('features', 'map')

    def __init__(self, model: Any, cfg: Config, size: Size | None = None) -> None:
        super().__init__(model, cfg, size)
        self.model = getattr(model, 'backbone', model)
        grid, step = self.model.grid_size, self.model.patch_size
        self.size = size or (grid[0] * step, grid[1] * step)
        normaliser = (cfg.get('model') or {}).get('data_preprocessor') or {}
        mean, std = normaliser.get('mean') or IMAGENET_MEAN, normaliser.get('std') or IMAGENET_STD
        preprocessor = SimpleNamespace(mean=torch.tensor(mean), std=torch.tensor(std))
        self.prepare = Preprocess(evaluation_pipeline(self.size), preprocessor)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features of images uint8 [B, H, W, 3]."""
        tokens = self.model.encode(self.prepare(image)[0]).tokens
        places = to_map(self.model, tokens, self.size)  # [B, rows, columns, C]
        return places.mean((1, 2)), places.permute(0, 3, 1, 2).contiguous()
