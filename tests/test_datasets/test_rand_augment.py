import random

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data import create_transform

import lightvit_dense  # noqa: F401
from lightvit_dense.compat.pillow_posterize import allow_zero_bits


def build(**kwargs):
    return TRANSFORMS.build(dict(type='lightvit_dense.RandAugment', **kwargs))


def seed(value):
    random.seed(value)
    np.random.seed(value)


@pytest.mark.parametrize('policy', ['rand-m9-mstd0.5-inc1', 'rand-m10-mstd0.5-inc1'])
def test_is_what_timm_makes_of_the_recipe(policy):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    _, theirs, _ = create_transform(
        32, is_training=True, auto_augment=policy, interpolation='bicubic', separate=True,
        color_jitter=0.3,
    )  # fmt: skip
    allow_zero_bits(theirs.transforms[0].ops)
    ours, changed = build(policy=policy), 0
    for value in range(40):
        seed(value)
        expected = np.asarray(theirs(Image.fromarray(image)))
        seed(value)
        found = ours(dict(img=image.copy()))['img']
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint8
        changed += (found != image).any()
    assert changed > 20


def test_the_strongest_posterisation_is_black_as_it_was_before_pillow_refused_it():
    augment = build(policy='rand-m10-inc1').augment
    op = next(op for op in augment.ops if op.name == 'PosterizeIncreasing')
    op.prob = 1.0
    image = Image.fromarray(np.full((4, 4, 3), 255, np.uint8))
    assert not np.asarray(op(image)).any()
    op.magnitude = 5  # two bits
    assert (np.asarray(op(image)) == 192).all()


def test_wrong_options():
    for policy in ('rand-m9-x3', 'augmix-m5', 'rand-mx'):
        with pytest.raises(ValueError, match="is none of timm's"):
            build(policy=policy)
    with pytest.raises(ValueError, match='interpolation must be one of'):
        build(interpolation='nearest')
