"""Shapes to pad to follow from an image's own size."""

import pytest
import torch

from lightvit_dense.models.pad_shape import (
    check_pad_shape,
    common_pad_shape,
    group_by_pad_shape,
    own_sizes,
    pad_images,
    pad_shape_of,
)


@pytest.mark.parametrize(
    ('size', 'pad_shape'),
    [((1, 1), (640, 640)), ((640, 480), (640, 640)), ((641, 480), (672, 640)),
     ((3, 5000), (640, 5024)), ((672, 704), (672, 704))],
)  # fmt: skip
def test_at_least_the_pad_shape_and_larger_sides_rounded_up(size: tuple, pad_shape: tuple) -> None:
    assert pad_shape_of(size, (640, 640), 32) == pad_shape


def test_groups_and_the_common_pad_shape() -> None:
    sizes = [(10, 60), (32, 64), (33, 1), (1, 1)]
    assert group_by_pad_shape(sizes, (0, 0), 32) == {(32, 64): [0, 1], (64, 32): [2], (32, 32): [3]}
    assert common_pad_shape(sizes, (0, 0), 32) == (64, 64)


def test_what_lay_beyond_an_image_becomes_zero() -> None:
    inputs = torch.randn(2, 3, 8, 9)
    found = pad_images(inputs, [(8, 5), (2, 9)], (8, 16))
    expected = torch.zeros(2, 3, 8, 16)
    expected[0, :, :8, :5] = inputs[0, :, :8, :5]
    expected[1, :, :2, :9] = inputs[1, :, :2, :9]
    assert torch.equal(found, expected)
    assert pad_images(found, [(8, 16)] * 2, (8, 16)) is found


def test_sizes_that_cannot_be_are_refused() -> None:
    inputs = torch.zeros(1, 3, 32, 32)
    assert own_sizes(inputs, [{}]) == [(32, 32)]
    assert own_sizes(inputs, [dict(img_shape=(3, 4, 3))]) == [(3, 4)]
    for shape in ((33, 32), (32, 0)):
        with pytest.raises(ValueError, match=r'a\.jpg: its img_shape is .* came as 32x32 px'):
            own_sizes(inputs, [dict(img_shape=shape, img_path='a.jpg')])


def test_pad_shape_options() -> None:
    assert check_pad_shape(None, 32) == (0, 0)
    assert check_pad_shape(64, 32) == (64, 64)
    assert check_pad_shape([32, 96], 32) == (32, 96)
    for wrong in (100, (64, 48), (64,), -32, 'big', 64.0):
        with pytest.raises(ValueError, match=r'pad_shape=.* multiples of 32'):
            check_pad_shape(wrong, 32)
