"""Weights that lie in the package: what their cards say, and what they compute."""

import re

import pytest
import skimage.data
import torch

import lightvit_dense
from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.utils.io import sha256
from lightvit_dense.utils.shipped import shipped_weights
from tests.helpers.models import vit

NAME = 'dmae-dinov2_toyworld'


@pytest.mark.parametrize(('name', 'path'), shipped_weights().items())
def test_every_file_has_a_card_with_its_hash(name, path):
    card = path.with_suffix('.md').read_text(encoding='utf-8')
    assert re.search(rf'^# {name}$', card, re.M)
    for row in ('data', 'teacher', 'iterations', 'command', 'licence'):
        assert re.search(rf'^\| {row} \| \S', card, re.M), row
    assert f'`{sha256(path)}`' in card


def test_they_are_small():
    assert NAME in shipped_weights()
    assert sum(path.stat().st_size for path in shipped_weights().values()) < 6e6


def test_features_of_a_photograph():
    model = lightvit_dense.load(NAME, device='cpu')
    features = model.features(skimage.data.astronaut(), pool='mean')[0]
    assert features.shape == (128,)
    torch.testing.assert_close(
        features[:4], torch.tensor([-0.5754, -0.1404, -0.0903, 0.0959]), atol=2e-3, rtol=0
    )


def test_a_name_stands_for_the_file_in_a_config():
    init = dict(type='lightvit_dense.PretrainedBackbone', checkpoint=NAME)
    model = MODELS.build(vit(128, 6, 4, img_size=64, patch_size=8, final_norm=True, init_cfg=init))
    model.init_weights()
    report = load_backbone(model, shipped_weights()[NAME])
    assert not report.missing
    with pytest.raises(UserError, match=f"Did you mean '{NAME}'"):
        load_backbone(model, 'dmae-dinov2_toyword')
