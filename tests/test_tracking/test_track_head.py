"""Heads, their targets and their losses against straight lines."""

import math

import pytest
import torch
from torchvision.ops import box_convert, box_iou, generalized_box_iou

from tracking.models import CenterHead, Maps, MLPHead, decode
from tracking.models.decoding import decode_maps, hann_window
from tracking.models.losses import focal_loss, gaussian_map, gaussian_radius


def straight_radius(width, height, overlap):
    """Write out CornerNet's three cases, undivided as in its first code."""
    b = height + width
    c = width * height * (1 - overlap) / (1 + overlap)
    first = (b + math.sqrt(b * b - 4 * c)) / 2
    b, c = 2 * (height + width), (1 - overlap) * width * height
    second = (b + math.sqrt(b * b - 16 * c)) / 2
    a, b, c = 4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height
    third = (b + math.sqrt(b * b - 4 * a * c)) / 2
    return min(first, second, third)


def straight_map(box, side, overlap=0.7):
    """Draw one Gaussian cell by cell."""
    x, y, w, h = (value * side for value in box)
    cx, cy = round(x + w / 2), round(y + h / 2)
    radius = int(max(0.0, straight_radius(w, h, overlap)))
    sigma = (2 * radius + 1) / 6
    heat = torch.zeros(side, side)
    for row in range(side):
        for column in range(side):
            dx, dy = column - cx, row - cy
            if abs(dx) <= radius and abs(dy) <= radius:
                heat[row, column] = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
    return heat


BOXES = [
    (0.30, 0.35, 0.25, 0.20),
    (0.10, 0.40, 0.80, 0.15),
    (-0.2, -0.1, 0.9, 1.1),
    (0.49, 0.52, 0.01, 0.02),
    (0.90, 0.05, 0.09, 0.30),
]


def test_gaussian_maps():
    found = gaussian_map(torch.tensor(BOXES), (16, 16))
    assert found.shape == (5, 1, 16, 16)
    for box, heat in zip(BOXES, found[:, 0], strict=True):
        torch.testing.assert_close(heat, straight_map(box, 16), rtol=1e-5, atol=1e-6)
    assert (found == 1).sum((1, 2, 3)).tolist() == [1, 1, 1, 1, 1]


def test_golden_radii():
    # A box of half and of a quarter of the crop: 8x8 and 4x4 cells of 16x16.
    sizes = torch.tensor([[8.0, 8.0], [4.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
    wanted = [straight_radius(w, h, 0.7) for w, h in sizes.tolist()]
    torch.testing.assert_close(gaussian_radius(sizes), torch.tensor(wanted))
    assert gaussian_radius(sizes).floor().tolist() == [2, 1, 0, 0]


def test_a_centre_outside_of_the_crop_has_no_positive_cell():
    boxes = torch.tensor([[1.2, 0.5, 0.2, 0.2], [0.98, 0.5, 0.04, 0.1], [-3.0, -3.0, 0.1, 0.1]])
    heat = gaussian_map(boxes, (16, 16))
    assert not (heat == 1).any()
    assert heat.isfinite().all()


def test_focal_loss_written_out():
    torch.manual_seed(0)
    score = torch.rand(3, 1, 6, 6).clamp(1e-4, 1 - 1e-4)
    target = gaussian_map(torch.tensor(BOXES[:3]), (6, 6))
    total, positives = 0.0, 0
    for p, t in zip(score.flatten().tolist(), target.flatten().tolist(), strict=True):
        if t == 1:
            total -= math.log(p) * (1 - p) ** 2
            positives += 1
        else:
            total -= math.log(1 - p) * p**2 * (1 - t) ** 4
    assert positives == 3
    assert focal_loss(score, target).item() == pytest.approx(total / 3, rel=1e-5)
    # Without a positive cell the sum is not divided.
    none = focal_loss(score, torch.zeros_like(target)).item()
    wanted = -(torch.log(1 - score) * score**2).sum().item()
    assert none == pytest.approx(wanted, rel=1e-5)


def random_maps(batch=3, rows=6, columns=8):
    torch.manual_seed(1)
    return Maps(
        torch.rand(batch, 1, rows, columns),
        torch.rand(batch, 2, rows, columns) * 0.5,
        torch.randn(batch, 2, rows, columns) * 0.3,
    )


@pytest.mark.parametrize('windowed', [False, True])
def test_decoding_agrees_with_that_of_the_runtime(windowed):
    maps = random_maps()
    window = hann_window(6, 8) if windowed else None
    boxes, scores = decode(maps, None if window is None else torch.from_numpy(window))
    for i in range(3):
        wanted, score = decode_maps(
            *(m[i].numpy() for m in (maps.score[:, 0], maps.size, maps.offset)), window, (120, 160)
        )
        pixels = boxes[i].double() * torch.tensor([160.0, 120, 160, 120])
        torch.testing.assert_close(pixels, torch.from_numpy(wanted), rtol=1e-5, atol=1e-4)
        assert scores[i].item() == pytest.approx(score)


def test_box_losses_against_torchvision():
    head, maps = CenterHead(4, 8), random_maps()
    truth = torch.tensor([[0.2, 0.3, 0.3, 0.2], [0.5, 0.1, 0.2, 0.6], [0.8, 0.7, 0.5, 0.6]])
    found = head.loss(maps, truth)
    predicted = box_convert(decode(maps)[0], 'xywh', 'xyxy')
    wanted = box_convert(truth, 'xywh', 'xyxy').clamp(0, 1)
    giou = 1 - generalized_box_iou(predicted, wanted).diagonal().mean()
    torch.testing.assert_close(found['giou'], giou, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found['l1'], (predicted - wanted).abs().sum() / 12)
    torch.testing.assert_close(found['IoU'], box_iou(predicted, wanted).diagonal().mean())


@pytest.mark.parametrize(
    'box', [(2.0, 2.0, 0.3, 0.3), (-0.5, 0.2, 0.2, 0.2), (0.5, 0.5, 0.0, 0.0), (-1, -1, 3, 3)]
)
def test_degenerate_targets_have_finite_losses_and_gradients(box):
    torch.manual_seed(0)
    head = CenterHead(4, 8)
    features = torch.randn(2, 4, 8, 8)
    losses = head.loss(head(features), torch.tensor([box, (0.3, 0.3, 0.2, 0.2)]))
    assert all(value.isfinite() for value in losses.values())
    sum(losses[name] for name in ('score', 'giou', 'l1')).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_losses_of_extreme_numbers():
    sure = torch.tensor([[[[30.0, -30.0]]]], dtype=torch.half)
    score = CenterHead.squash(sure)
    assert ((score > 0) & (score < 1)).all()
    assert focal_loss(score, torch.zeros_like(score)).isfinite()
    maps = random_maps(2)
    maps.size[0] = float('nan')
    losses = CenterHead(4, 8).loss(maps, torch.tensor(BOXES[:2]))
    assert losses['giou'].isnan()
    assert losses['l1'].isnan()
    assert losses['score'].isfinite()


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: CenterHead(4, 20), 'channels=20 must be a multiple of 8'),
        (lambda: MLPHead(4, num_layers=0), 'num_layers=0 must be positive'),
        (lambda: MLPHead(4, prior=1.0), r'prior=1.0 must be in \(0, 1\)'),
        (lambda: MLPHead(8, boxes_at='middle'), "'prediction' or 'truth'"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize('head', [CenterHead, MLPHead])
def test_the_score_before_any_training(head):
    torch.manual_seed(0)
    features = torch.randn(4, 4, 8, 8)
    scores = [head(4, 16, prior=prior)(features).score for prior in (None, 0.1, 0.01)]
    medians = [score.median().item() for score in scores]
    assert medians[0] == pytest.approx(0.5, abs=0.2)
    assert medians[1] == pytest.approx(0.1, abs=0.08)
    assert medians[2] == pytest.approx(0.01, abs=0.01)


@pytest.mark.parametrize(
    ('boxes_at', 'x', 'cell'),
    [('prediction', 5 / 8, (1, 1)), ('truth', 5 / 8, (2, 5)), ('truth', 1.3, (1, 1))],
)
def test_boxes_are_trained_at_the_cell_that_is_asked_for(boxes_at, x, cell):
    """A target off the map trains the cell with the best score."""
    head = CenterHead(8, 8, boxes_at=boxes_at)
    maps = Maps(
        torch.full((1, 1, 8, 8), 0.1),
        torch.full((1, 2, 8, 8), 0.3, requires_grad=True),
        torch.zeros(1, 2, 8, 8, requires_grad=True),
    )
    maps.score[0, 0, 1, 1] = 0.9  # sure, and wrong
    losses = head.loss(maps, torch.tensor([[x - 0.1, 2 / 8 - 0.1, 0.2, 0.2]]))
    (losses['giou'] + losses['l1']).backward()
    touched = (maps.size.grad.abs() + maps.offset.grad.abs())[0].sum(0).nonzero()
    assert touched.tolist() == [list(cell)]
