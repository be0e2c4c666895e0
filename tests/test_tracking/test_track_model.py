"""The one-stream tracker as mmengine calls it, its preprocessor, schedule and size."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub
from torch.utils.data import DataLoader

import tracking  # noqa: F401  fills the registries
from lightvit_dense.engine.hooks import NonFiniteLossGuard
from lightvit_dense.engine.hooks.non_finite import NonFiniteLossError
from lightvit_dense.errors import UserError
from lightvit_dense.utils.flops import count_cost
from tracking.engine import (
    EliminationScheduleHook,
    SequenceTestLoop,
    SequenceValLoop,
    sequence_loop,
    track_sequence,
)
from tracking.models import PairPreprocessor, decode
from tracking.registry import HOOKS
from tracking.runtime import Tracker
from tracking.structures import TrackSample

from .small_runtime import moving_target, sequence_of
from .small_tracker import HIERA, pairs, small_tracker


def test_the_preprocessor():
    batch = pairs()
    out = PairPreprocessor()(batch)
    for name, crops in batch['inputs'].items():
        wanted = torch.stack(crops).float()
        mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
        std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
        torch.testing.assert_close(out['inputs'][name], (wanted - mean) / std)
    assert [s.metainfo for s in out['data_samples']] == [s.metainfo for s in batch['data_samples']]
    with pytest.raises(ValueError, match=r"'template' and 'search', got \['search'\]"):
        PairPreprocessor()(dict(inputs=dict(search=batch['inputs']['search'])))
    uneven = [torch.zeros(3, side, side, dtype=torch.uint8) for side in (4, 5)]
    with pytest.raises(ValueError, match='differ in size'):
        PairPreprocessor()(dict(inputs=dict(template=uneven, search=uneven)))


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
    model, batch = small_tracker(backbone).train(), pairs()
    losses = model(**model.data_preprocessor(batch), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    # Behind a ReLU of so few channels a weight may rest.
    assert [name for name, p in model.backbone.named_parameters() if not p.grad.any()] == []


def test_prediction_of_pairs():
    model = small_tracker().eval()
    data = model.data_preprocessor(pairs())
    with torch.no_grad():
        found = model(**data, mode='predict')
        boxes, scores = decode(model(**data))
    for sample, box, score in zip(found, boxes, scores, strict=True):
        assert torch.equal(sample.pred_box, box)
        assert torch.equal(sample.pred_score, score)
        assert 'search_box' in sample
    alone = model(data['inputs'], None, mode='predict')
    assert torch.equal(alone[1].pred_box, boxes[1])


def test_a_pair_does_not_depend_on_its_batch():
    model = small_tracker().eval()
    data = model.data_preprocessor(pairs(3))
    with torch.no_grad():
        whole = model(**data)
        single = model({name: crops[1:2] for name, crops in data['inputs'].items()})
    for a, b in zip(whole, single, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


class CountingEvaluator(Evaluator):
    """What loops read of an evaluator."""

    def __init__(self):
        super().__init__([])
        self.samples = []

    def process(self, data_samples, data_batch):
        self.samples += data_samples

    def evaluate(self, size):
        return dict(size=size)


class Sequences(list):
    metainfo: dict = {}


def loop_of(kind, model, *samples):
    """Build a loop over samples, with a runner that has the model."""
    runner = FakeRunner(model)
    runner.call_hook, runner.visualizer = (lambda *_, **__: None), SimpleNamespace()
    dataset = Sequences(dict(inputs=dict(), data_samples=sample) for sample in samples)
    loader = DataLoader(dataset, collate_fn=pseudo_collate)
    return kind(runner=runner, dataloader=loader, evaluator=CountingEvaluator())


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
    for change in (lambda *_, **__: None, swap):
        loop.runner.call_hook = change
        loop.evaluator.samples.clear()
        assert loop.run() == dict(size=2)
        wanted, scores, _ = track_sequence(Tracker(model), sequence)
        for sample in loop.evaluator.samples:
            np.testing.assert_array_equal(sample.boxes, wanted)
            np.testing.assert_array_equal(sample.scores, scores)
            assert sample.seconds.shape == (4,)
        found.append(wanted)
    assert len(made) == 2  # one a run
    assert np.abs(found[1] - found[0]).max() > 1e-3
    loop = loop_of(kind, model, TrackSample())
    with pytest.raises(UserError, match=f'{kind.__name__} tracks whole sequences'):
        loop.run()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(loss_weights=dict(gious=1.0)), r"names 'gious', .* Did you mean 'giou'"),
        (dict(test_cfg=dict(hann=True)), "test_cfg of OneStreamTracker names 'hann'"),
        (dict(backbone=dict(search_size=96)), 'search_size=96 contradicts search_size=64'),
        (dict(search_factor=0.5), 'a crop below 1 is smaller than the target'),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises((ValueError, UserError), match=message):
        small_tracker(**options)


def test_batches_that_do_not_fit_are_refused():
    model = small_tracker()
    inputs = model.data_preprocessor(pairs())['inputs']
    with pytest.raises(ValueError, match="'tensor', 'loss' or 'predict', got 'train'"):
        model(inputs, mode='train')
    with pytest.raises(ValueError, match='training needs data_samples with search_box'):
        model(inputs, [TrackSample(), TrackSample()], mode='loss')
    with pytest.raises(ValueError, match='search image is 32x32 px, the backbone was built for'):
        model(dict(template=inputs['template'], search=inputs['template']))
    with pytest.raises(UserError, match=r"tracked by test_cfg = dict\(type='tracking.Sequence"):
        model({}, [TrackSample()], mode='predict')


class FakeRunner:
    """What hooks read of a runner."""

    def __init__(self, model):
        self.model = model
        self.epoch = self.iter = 0
        self.work_dir = 'work'
        self.message_hub = MessageHub.get_instance('track-model-test')
        self.optim_wrapper = None


@pytest.mark.parametrize('by_epoch', [True, False])
def test_the_schedule_of_elimination(by_epoch):
    model = small_tracker().train()
    hook = HOOKS.build(
        dict(type='tracking.EliminationScheduleHook', begin=20, end=100, by_epoch=by_epoch)
    )
    runner = FakeRunner(model)
    hook.before_train(runner)
    for position in (1, 19, 20, 40, 60, 99, 100, 300):
        # OSTrack counts epochs from 1, the runner from 0.
        runner.epoch = runner.iter = position - 1 if by_epoch else position
        hook.before_train_iter(runner, 0)
        part = min(max(position - 20, 0), 80) / 80
        wanted = 0.7 + 0.3 * (math.cos(part * math.pi) + 1) * 0.5
        assert model.backbone.keep_ratio == pytest.approx(wanted)
    assert model.backbone.candidates(64) == {1: 45, 2: 32}


def test_the_schedule_needs_something_to_schedule():
    hook = EliminationScheduleHook()
    with pytest.raises(ValueError, match='JointVisionTransformer eliminates nothing'):
        hook.before_train(FakeRunner(small_tracker(backbone=dict(elimination=None))))
    with pytest.raises(TypeError, match="needs a model with 'backbone'"):
        hook.before_train(FakeRunner(torch.nn.Linear(1, 1)))
    with pytest.raises(ValueError, match='need 0 <= begin < end, not 5, 5'):
        EliminationScheduleHook(5, 5)


def test_a_loss_that_is_no_number_stops_training_and_names_the_frame():
    model = small_tracker().train()
    with torch.no_grad():
        model.head.size[-1].bias.fill_(float('nan'))
    batch = pairs()
    with torch.no_grad():
        losses = model(**model.data_preprocessor(batch), mode='loss')
    _, log = model.parse_losses(losses)
    runner = FakeRunner(model)
    with pytest.raises(NonFiniteLossError, match=r'loss_giou = nan(?s:.*)frame0.jpg, frame1.jpg'):
        NonFiniteLossGuard().after_train_iter(runner, 0, batch, log)


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
