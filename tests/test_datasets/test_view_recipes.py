"""The views of the shipped recipes, as the papers have them."""

from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.registry import MODELS, TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'pretrain'


@pytest.mark.parametrize(
    ('name', 'sizes'), [('mocov3_vit-tiny', [224] * 2), ('dino_vit-tiny', [224] * 2 + [96] * 8)]
)
def test_views_have_the_papers_number_and_size(name, sizes) -> None:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    steps = [TRANSFORMS.build(step) for step in cfg.train_dataloader.dataset.pipeline[1:]]
    image = np.random.default_rng(0).integers(0, 255, (120, 150, 3), dtype=np.uint8)
    with seeded(0):
        batch = default_collate([Compose(steps)(dict(img=image, img_path='a')) for _ in range(2)])
    assert [tuple(view.shape) for view in batch['inputs']] == [(2, 3, s, s) for s in sizes]


@pytest.mark.parametrize(
    ('name', 'per_256', 'batch'),
    [
        ('simmim_vit-tiny', 0.5e-4, 2048),
        ('mocov3_vit-tiny', 1.5e-4, 1024),
        ('dino_vit-tiny', 5e-4, 1024),
    ],
)
def test_learning_rates_follow_the_linear_rule(name, per_256, batch) -> None:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(per_256 * batch / 256)


def test_views_differ_as_published() -> None:
    """Blur in the first view always, in the second rarely; solarization in the second only."""
    for name in ('mocov3_vit-tiny', 'dino_vit-tiny'):
        views = Config.fromfile(CONFIGS / f'{name}.py').train_dataloader.dataset.pipeline[1][
            'views'
        ]
        probabilities = [
            {step.type.split('.')[-1]: step.get('prob') for step in view.pipeline} for view in views
        ]
        assert [p['GaussianBlur'] for p in probabilities][:2] == [1.0, 0.1]
        assert [p.get('Solarize') for p in probabilities][:2] == [None, 0.2]
        assert {p['ColorJitter'] for p in probabilities} == {0.8}
        assert {p['RandomGrayscale'] for p in probabilities} == {0.2}


@pytest.mark.parametrize('name', ['simmim_vit-tiny', 'mocov3_vit-tiny', 'dino_vit-tiny'])
def test_weight_decay_leaves_out_what_the_official_code_leaves_out(name) -> None:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    for key in ('hidden', 'out_channels'):  # the groups do not depend on the heads' sizes
        for node in (cfg.model, cfg.model.get('head') or {}):
            if key in node:
                node[key] = 8
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim == 1 and name != 'mocov3_vit-tiny'
        exempt |= name == 'simmim_vit-tiny' and key.endswith(('mask_token', 'cls_token'))
        assert decay[id(parameter)] == (0.0 if exempt else cfg.optim_wrapper.optimizer.weight_decay)
