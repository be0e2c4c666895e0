"""A config and a checkpoint as a frozen backbone, and several of them in an analysis."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lightvit_dense.apis import frozen_backbone
from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.errors import UserError
from tests.helpers.models import vit


@pytest.fixture
def config(tmp_path: Path) -> Path:
    preprocessor = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])
    model = dict(
        type='lightvit_dense.ImageClassifier',
        backbone=vit(24, 3, 2, drop_path_rate=0.5),
        head=dict(num_classes=3),
        data_preprocessor=dict(type='lightvit_dense.ImagePreprocessor', **preprocessor),
    )
    Config(dict(model=model)).dump(tmp_path / 'tiny.py')
    return tmp_path / 'tiny.py'


def test_it_has_the_weights_of_its_checkpoint(config: Path, tmp_path: Path) -> None:
    first = frozen_backbone(config, device='cpu', seed=3)
    again = frozen_backbone(config, device='cpu', seed=3, title='B/b² 2')
    assert (first.title, again.title, first.path) == ('tiny', 'B/b² 2', None)
    assert (first.mean, first.std) == ((100, 110, 120), (50, 60, 70))
    assert (first.task, first.image_size) == ('features', (32, 32))
    state = first.backbone.state_dict()
    assert all(torch.equal(v, again.backbone.state_dict()[k]) for k, v in state.items())
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in state.items()}}, tmp_path / 'a.pth')
    loaded = frozen_backbone(config, tmp_path / 'a.pth', 'cpu', seed=9)
    assert all(torch.equal(v, loaded.backbone.state_dict()[k]) for k, v in state.items())
    assert first.identity['weights'] == 'random, seed 3'
    assert len(loaded.identity['weights']) == 64
    assert not loaded.backbone.training
    assert not any(p.requires_grad for p in loaded.backbone.parameters())
    other = frozen_backbone(config, 'none', 'cpu', {'model.backbone.arch.depth': 2})
    assert other.backbone.num_layers == 2
    images = torch.zeros(1, 3, 32, 32)
    torch.testing.assert_close(loaded.features(images), first.features(images))


def test_what_is_none_is_named(config: Path, tmp_path: Path) -> None:
    torch.save({'something.weight': torch.zeros(3)}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other\.pth'):
        frozen_backbone(config, tmp_path / 'other.pth')
    config.write_text('val_cfg = dict()\n')
    with pytest.raises(UserError, match=r'has no model\.backbone: take a config of pre-training'):
        frozen_backbone(config)
    config.write_text("model = dict(backbone=dict(type='tracking.JointVisionTransformer'))\n")
    with pytest.raises(UserError, match='Take the pre-training config of the same architecture'):
        frozen_backbone(config)
