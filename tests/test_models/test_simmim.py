"""SimMIM against a straight-line reference: masks, values, gradients."""

import math

import pytest
import torch
from torch import Tensor

from lightvit_dense.models import SimMIM
from lightvit_dense.models.pretraining.masking import unit_masking
from lightvit_dense.models.pretraining.simmim import masked_l1
from tests.helpers.models import assert_same_gradients, reached, vit


def small_simmim(side: int = 32, patch: int = 8, **options: object) -> SimMIM:
    backbone = vit(img_size=side, patch_size=patch)
    return SimMIM(backbone, **(dict(mask_unit=2 * patch) | options))


def masked_squares(noise: Tensor, side: int, unit: int, ratio: float) -> Tensor:
    """Return the mask of one image [side, side], pixel by pixel, from the ranks of its squares."""
    across = side // unit
    ranks = noise.argsort().tolist()
    chosen = ranks[: math.ceil(ratio * across * across)]
    mask = torch.zeros(side, side)
    for square in chosen:
        top, left = square // across * unit, square % across * unit
        mask[top : top + unit, left : left + unit] = 1
    return mask


def reference_loss(model: SimMIM, images: Tensor, noise: Tensor, unit: int) -> Tensor:
    """Compute the loss image by image and patch by patch."""
    net, patch, side = model.backbone, model.backbone.patch_size, images.shape[-1]
    across = side // patch
    total, count = torch.zeros(()), 0.0
    for image, ranks in zip(images, noise, strict=True):
        mask = masked_squares(ranks, side, unit, model.mask_ratio)
        tokens = [net.cls_token[0, 0] + net.pos_embed[0, 0]]
        for index in range(across**2):
            top, left = index // across * patch, index % across * patch
            cut = image[:, top : top + patch, left : left + patch]
            weight = net.patch_embed.proj.weight.flatten(1)
            token = weight @ cut.flatten() + net.patch_embed.proj.bias
            if mask[top, left]:
                token = model.mask_token[0, 0]
            tokens.append(token + net.pos_embed[0, 1 + index])
        x = torch.stack(tokens)[None]
        for block in net.blocks:
            x, _ = block(x)
        x = net.norm(x)[0]
        for index in range(across**2):
            top, left = index // across * patch, index % across * patch
            pixels = model.head.weight[..., 0, 0] @ x[1 + index] + model.head.bias
            # A pixel shuffle: channel, then row, then column.
            pixels = pixels.reshape(3, patch, patch)
            error = (pixels - image[:, top : top + patch, left : left + patch]).abs()
            total = total + (error * mask[top : top + patch, left : left + patch]).sum()
        count += mask.sum().item()
    return total / (count + 1e-5) / 3


@pytest.mark.parametrize(
    ('side', 'patch', 'unit', 'ratio'),
    [(32, 8, 16, 0.6), (32, 8, 8, 0.6), (64, 16, 32, 0.5), (48, 8, 24, 0.25), (80, 8, 40, 0.7)],
)
def test_loss_and_gradients_equal_the_reference(side, patch, unit, ratio) -> None:
    torch.manual_seed(0)
    model = small_simmim(side, patch, mask_unit=unit, mask_ratio=ratio)
    for parameter in model.parameters():  # zero-initialised biases would hide a swap
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    images, noise = torch.randn(3, 3, side, side), torch.rand(3, (side // unit) ** 2)
    loss = model.loss(images, noise=noise)['loss_reconstruction']
    reference = reference_loss(model, images, noise, unit)
    torch.testing.assert_close(loss, reference, atol=1e-6, rtol=1e-5)
    assert_same_gradients(loss, reference, model, atol=2e-6, rtol=1e-4)
    assert len(reached(loss, model)) == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ('grid', 'unit', 'ratio', 'units'),
    [((14, 14), 2, 0.6, 30), ((4, 6), 2, 0.5, 3), ((3, 3), 1, 0.5, 5), ((2, 2), 2, 0.1, 1)],
)
def test_masks_are_whole_squares_rounded_up(grid, unit, ratio, units) -> None:
    ids = unit_masking(5, grid, unit, ratio)
    assert ids.shape == (5, units * unit**2)
    for row in ids:
        mask = torch.zeros(grid).flatten().index_fill(0, row, 1).reshape(grid)
        assert mask.sum() == units * unit**2
        squares = mask.unfold(0, unit, unit).unfold(1, unit, unit).flatten(2).mean(-1)
        assert set(squares.flatten().tolist()) <= {0.0, 1.0}
    noise = torch.rand(2, grid[0] // unit * (grid[1] // unit))
    first, again = (unit_masking(2, grid, unit, ratio, noise) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mask_unit=12), 'mask_unit=12 px is not a multiple of patch 8'),
        (dict(mask_unit=24), '4x4 patches are no whole number of units of side 3'),
        (dict(mask_ratio=0.0), 'mask_ratio=0.0 must lie in'),
        (dict(mask_ratio=1.2), 'mask_ratio=1.2 must lie in'),
    ],
)
def test_what_does_not_fit_is_refused_when_built(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        small_simmim(**options)


def test_wrong_noise_is_refused() -> None:
    model = small_simmim()
    with pytest.raises(ValueError, match='noise is'):
        model.loss(torch.randn(1, 3, 32, 32), noise=torch.rand(1, 9))


def test_loss_is_finite_with_large_activations() -> None:
    image, mask = torch.zeros(64, 3, 32, 32), torch.ones(64, 1, 32, 32)
    pred = torch.full_like(image, 1e4).half()  # their sum is far beyond half precision
    assert masked_l1(image, pred, mask).item() == pytest.approx(1e4, rel=1e-4)
