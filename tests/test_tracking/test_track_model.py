"""The one-stream tracker as mmengine calls it: heads, losses, loops, schedule and size."""

import itertools
import math
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from torch.utils.data import DataLoader
from torchvision.ops import box_convert, box_iou, generalized_box_iou, generalized_box_iou_loss

import tracking  # noqa: F401  fills the registries
from lightvit_dense.errors import UserError
from lightvit_dense.utils.flops import count_cost
from tests.helpers.models import silent
from tracking.engine import (
    EliminationScheduleHook,
    SequenceTestLoop,
    SequenceValLoop,
    sequence_loop,
    track_sequence,
)
from tracking.models import CenterHead, Maps, MLPHead, PairPreprocessor, decode
from tracking.models.decoding import decode_maps, hann_window
from tracking.models.losses import focal_loss, gaussian_map, gaussian_radius, giou_loss
from tracking.runtime import Tracker
from tracking.structures import TrackSample

from .small_sequences import moving_target, sequence_of
from .small_tracker import HIERA, pairs, small_tracker


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
    # A box of half and of a quarter of the crop: 8x8 and 4x4 cells of 16x16.
    sizes = torch.tensor([[8.0, 8.0], [4.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
    assert gaussian_radius(sizes).floor().tolist() == [2, 1, 0, 0]
    # A centre outside of the crop has no positive cell.
    boxes = torch.tensor([[1.2, 0.5, 0.2, 0.2], [0.98, 0.5, 0.04, 0.1], [-3.0, -3.0, 0.1, 0.1]])
    outside = gaussian_map(boxes, (16, 16))
    assert not (outside == 1).any()
    assert outside.isfinite().all()


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
    score, size = torch.rand(batch, 1, rows, columns), torch.rand(batch, 2, rows, columns)
    return Maps(score, size * 0.5, torch.randn(batch, 2, rows, columns) * 0.3)


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


def test_giou_and_its_gradient_are_torchvisions():
    corner = torch.rand(40, 2, 2, generator=torch.Generator().manual_seed(0))
    boxes, truth = torch.cat([corner, corner + torch.rand_like(corner) * 0.6], 2).unbind(1)
    boxes[:2] = truth[:2]
    truth[2, 2:] = truth[2, :2]
    found, expected = (boxes.clone().requires_grad_() for _ in range(2))
    loss, _ = giou_loss(found, truth)
    theirs = generalized_box_iou_loss(expected, truth, reduction='mean')
    torch.testing.assert_close(loss, theirs)
    loss.backward()
    theirs.backward()
    torch.testing.assert_close(found.grad, expected.grad)


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
    assert [losses[n].isnan().item() for n in ('giou', 'l1', 'score')] == [True, True, False]


@pytest.mark.parametrize('head', [CenterHead, MLPHead])
def test_the_score_before_any_training(head):
    torch.manual_seed(0)
    features = torch.randn(4, 4, 8, 8)
    scores = [head(4, 16, prior=prior)(features).score for prior in (None, 0.1, 0.01)]
    for score, median, tolerance in zip(scores, (0.5, 0.1, 0.01), (0.2, 0.08, 0.01), strict=True):
        assert score.median().item() == pytest.approx(median, abs=tolerance)


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


def test_the_preprocessor():
    batch = pairs()
    out = PairPreprocessor()(batch)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    for name, crops in batch['inputs'].items():
        wanted = (torch.stack(crops).float() - mean) / std
        torch.testing.assert_close(out['inputs'][name], wanted)
    assert [s.metainfo for s in out['data_samples']] == [s.metainfo for s in batch['data_samples']]


def test_losses_are_weighted():
    model = small_tracker(loss_weights=dict(l1=3.0)).train()
    data = model.data_preprocessor(pairs())
    # Running means of BatchNorm do not matter in training mode.
    losses = model(**data, mode='loss')
    maps = model(**data, mode='tensor')
    boxes = torch.stack([s.search_box for s in data['data_samples']])
    terms = model.head.loss(maps, boxes)
    for name, weight in dict(score=1, giou=2, l1=3).items():
        torch.testing.assert_close(losses[f'loss_{name}'], weight * terms[name])
    assert set(losses) == {'loss_score', 'loss_giou', 'loss_l1', 'train_IoU'}
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total, sum(losses[f'loss_{n}'] for n in ('score', 'giou', 'l1')))
    assert 'train_IoU' in log


@pytest.mark.parametrize(
    'backbone', [dict(drop_path_rate=0.1), dict(template_tokens='box', with_cp=True), HIERA]
)
def test_every_parameter_learns(backbone):
    model = small_tracker(backbone).train()
    losses = model(**model.data_preprocessor(pairs()), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    # Behind a ReLU of so few channels a weight may rest.
    assert silent(model.backbone) == []


def test_prediction_of_pairs():
    model = small_tracker().eval()
    data = model.data_preprocessor(pairs(3))
    with torch.no_grad():
        found = model(**data, mode='predict')
        maps = model(**data)
        single = model({name: crops[1:2] for name, crops in data['inputs'].items()})
    boxes, scores = decode(maps)
    for sample, box, score in zip(found, boxes, scores, strict=True):
        assert torch.equal(sample.pred_box, box)
        assert torch.equal(sample.pred_score, score)
        assert 'search_box' in sample
    alone = model(data['inputs'], None, mode='predict')
    assert torch.equal(alone[1].pred_box, boxes[1])
    for whole, one in zip(maps, single, strict=True):  # a pair does not depend on its batch
        torch.testing.assert_close(whole[1:2], one, rtol=1e-4, atol=1e-5)


def loop_of(kind, model, *samples):
    """Build a loop over samples, with a runner that has the model."""
    runner = Mock(model=model)
    dataset = [dict(inputs=dict(), data_samples=sample) for sample in samples]
    evaluator = Mock(spec=Evaluator([]), metrics=[], evaluate=lambda size: dict(size=size))
    loader = DataLoader(dataset, collate_fn=pseudo_collate)
    return kind(runner=runner, dataloader=loader, evaluator=evaluator)


@pytest.mark.parametrize(('kind', 'phase'), [(SequenceTestLoop, 'test'), (SequenceValLoop, 'val')])
def test_a_loop_tracks_sequences_by_the_weights_of_its_run(kind, phase, monkeypatch):
    model, made = small_tracker().eval(), []
    monkeypatch.setattr(sequence_loop, 'Tracker', lambda model: made.append(1) or Tracker(model))
    sequence = sequence_of(*moving_target(4))
    samples = [TrackSample(), TrackSample()]
    for sample in samples:
        sample.sequence = sequence
    loop = loop_of(kind, model, *samples)

    def swap(name, **_):
        """Put other weights in place when the run begins, as averages of weights do."""
        if name == f'before_{phase}_epoch':
            for parameter in model.parameters():
                parameter.data.add_(0.1)

    found = []
    for change in (None, swap):
        loop.runner.call_hook.side_effect = change
        loop.evaluator.process.reset_mock()
        assert loop.run() == dict(size=2)
        wanted, scores, _ = track_sequence(Tracker(model), sequence)
        calls = loop.evaluator.process.call_args_list
        assert len(calls) == 2
        for call in calls:
            (sample,) = call.kwargs['data_samples']
            np.testing.assert_array_equal(sample.boxes, wanted)
            np.testing.assert_array_equal(sample.scores, scores)
            assert sample.seconds.shape == (4,)
        found.append(wanted)
    assert len(made) == 2  # one a run
    assert np.abs(found[1] - found[0]).max() > 1e-3
    with pytest.raises(UserError, match=f'{kind.__name__} tracks whole sequences'):
        loop_of(kind, model, TrackSample()).run()


@pytest.mark.parametrize('by_epoch', [True, False])
def test_the_schedule_of_elimination(by_epoch):
    model = small_tracker().train()
    hook = EliminationScheduleHook(20, 100, by_epoch=by_epoch)
    runner = Mock(model=model)
    hook.before_train(runner)
    for position in (1, 19, 20, 40, 60, 99, 100, 300):
        # OSTrack counts epochs from 1, the runner from 0.
        runner.epoch = runner.iter = position - 1 if by_epoch else position
        hook.before_train_iter(runner, 0)
        part = min(max(position - 20, 0), 80) / 80
        wanted = 0.7 + 0.3 * (math.cos(part * math.pi) + 1) * 0.5
        assert model.backbone.keep_ratio == pytest.approx(wanted)
    assert model.backbone.candidates(64) == {1: 45, 2: 32}


def schedule(model):
    EliminationScheduleHook().before_train(Mock(model=model))


def run_model(mode='tensor', samples=None, sides=(32, 64)):
    template, search = (torch.zeros(2, 3, side, side) for side in sides)
    small_tracker()(dict(template=template, search=search), samples, mode=mode)


def preprocess(**sides):
    crops = {
        n: [torch.zeros(3, s, s, dtype=torch.uint8) for s in both] for n, both in sides.items()
    }
    PairPreprocessor()(dict(inputs=crops))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: CenterHead(4, 20), 'channels=20 must be a multiple of 8'),
        (lambda: MLPHead(4, num_layers=0), 'num_layers=0 must be positive'),
        (lambda: MLPHead(4, prior=1.0), r'prior=1.0 must be in \(0, 1\)'),
        (lambda: MLPHead(8, boxes_at='middle'), "'prediction' or 'truth'"),
        (lambda: preprocess(search=(4, 4)), r"'template' and 'search', got \['search'\]"),
        (lambda: preprocess(template=(4, 5), search=(4, 5)), 'differ in size'),
        (lambda: small_tracker(loss_weights=dict(gious=1)), "'gious', .* Did you mean 'giou'"),
        (lambda: small_tracker(test_cfg=dict(hann=True)), "of OneStreamTracker names 'hann'"),
        (lambda: small_tracker(dict(search_size=96)), 'search_size=96 contradicts search_size=64'),
        (lambda: small_tracker(search_factor=0.5), 'a crop below 1 is smaller than the target'),
        (lambda: run_model('train'), "'tensor', 'loss' or 'predict', got 'train'"),
        (lambda: run_model('loss', [TrackSample()] * 2), 'needs data_samples with search_box'),
        (lambda: run_model(sides=(32, 32)), 'search image is 32x32 px, the backbone was built for'),
        (lambda: small_tracker()({}, [TrackSample()], mode='predict'), 'tracked by test_cfg ='),
        (lambda: schedule(small_tracker(dict(elimination=None))), 'eliminates nothing'),
        (lambda: schedule(torch.nn.Linear(1, 1)), "needs a model with 'backbone'"),
        (lambda: EliminationScheduleHook(5, 5), 'need 0 <= begin < end, not 5, 5'),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises((ValueError, TypeError, UserError), match=message):
        call()


def test_golden_parameters_and_arithmetic_of_the_published_tracker():
    model = dict(
        type='tracking.OneStreamTracker',
        backbone=dict(type='tracking.JointVisionTransformer', elimination=dict()),
        head=dict(type='tracking.CenterHead'),
    )
    cost = count_cost(Config(dict(model=model)))
    assert cost.shape == (256, 256)
    params = {part.name: part.params for part in cost.parts}
    # DeiT-Tiny without classifier, class token and its table, and 64 + 256 positions.
    assert params == {'backbone': 5717416 - 193000 - 192 - 197 * 192 + 320 * 192, 'head': 2492805}

    def joint(queries, keys, hidden):
        """MACs: queries, keys and values, attention, projection; the MLP of what is left."""
        c = 192
        return c * c * (2 * queries + 2 * keys) + 2 * queries * keys * c + 8 * c * c * hidden

    tokens, macs = 256, 320 * 768 * 192
    for block in range(12):
        keys = 64 + tokens
        if block in (3, 6, 9):
            tokens = math.ceil(0.7 * tokens - 1e-9)
            macs += 192 * 192 + keys * 192  # the ranking token's query and its logits
        queries = tokens + (0 if block == 11 else 64)
        macs += joint(queries, keys, queries)
    flops = {part.name: part.flops for part in cost.parts}
    assert flops['backbone'] == 2 * macs
    widths = [192, 256, 128, 64, 32]
    stack = sum(9 * a * b for a, b in itertools.pairwise(widths))
    assert flops['head'] == 2 * 256 * (3 * stack + 32 * 5)
    model['backbone']['elimination'] = None
    with pytest.raises(UserError, match='is built for one size of image'):
        count_cost(Config(dict(model=model)), (128, 128))
    whole = 320 * 768 * 192 + 11 * joint(320, 320, 320) + joint(256, 320, 256)
    assert count_cost(Config(dict(model=model))).parts[0].flops == 2 * whole
