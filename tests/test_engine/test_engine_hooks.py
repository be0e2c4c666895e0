"""Every hook: what it refuses, then what it does."""

import json
import math
import random
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.structures import BaseDataElement
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lightvit_dense import apis
from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.engine import hooks
from lightvit_dense.engine.hooks.distributed import parameter_digest
from lightvit_dense.engine.hooks.non_finite import non_finite_entries
from lightvit_dense.engine.hooks.resources import batch_size
from lightvit_dense.engine.hooks.resume import iteration_seed
from lightvit_dense.engine.unwrap import separate_randomness
from lightvit_dense.errors import UserError
from lightvit_dense.registry import DATASETS
from tests.helpers.models import vit
from tests.helpers.resume import assert_same, run
from tests.helpers.toy_engine import ToyPoints, ToyRegressor, clear_globals

SCHEDULE = dict(start_value=0.1, end_value=0.2, end=2)


def train(toy_config, name: str, model: str = 'ToyRegressor', length: int = 1, **arguments):
    """Train with a hook; return the runner and its folder."""
    cfg = toy_config(length=length)
    cfg.model.type = f'lightvit_dense.{model}'
    cfg.custom_hooks = [dict(type=f'lightvit_dense.{name}', **arguments)]
    return apis.train(cfg), Path(cfg.work_dir)


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('NonFiniteLossGuard', dict(max_images=0)),
        ('ReconstructionVisualizationHook', dict(interval=0)),
        ('ReconstructionVisualizationHook', dict(num_images=0)),
        ('AttentionAgreementHook', dict(interval=1.5)),
        ('ResourceHook', dict(interval=-1)),
        ('ExportBackboneHook', dict(filename='backbone.pth')),
        ('GradientCompressionHook', dict(dtype='int8')),
        ('DistillWeightScheduleHook', dict(begin=5, end=5, start_value=1, end_value=0)),
        ('DistillWeightScheduleHook', dict(begin=0, end=5, start_value=-1, end_value=0)),
        ('DistillWeightScheduleHook', dict(SCHEDULE, begin=0, shape='step')),
        ('MomentumUpdateHook', dict(base=1.1)),
        ('MomentumUpdateHook', dict(base=0.99, end=0.9)),
        ('FreezeLastLayerHook', dict(until=-1)),
        ('TeacherTemperatureHook', dict(start_value=0.0, end_value=0.1, end=3)),
        ('TeacherTemperatureHook', dict(start_value=0.1, end_value=0.1, end=0)),
    ],
)
def test_wrong_arguments_are_refused(name, arguments) -> None:
    with pytest.raises(ValueError, match=name):
        getattr(hooks, name)(**arguments)


def needs(attribute):
    return f'needs .*{attribute}.*ToyRegressor has none: remove the hook'


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('ReconstructionVisualizationHook', {}, needs('reconstruct')),
        ('AttentionAgreementHook', {}, needs('attention_agreement')),
        ('DistillWeightScheduleHook', dict(SCHEDULE, begin=0), needs('distiller')),
        ('TeacherTemperatureHook', SCHEDULE, needs('criterion')),
        ('MomentumUpdateHook', {}, needs('update_ema_targets')),
        ('ExportBackboneHook', dict(module='momentum_backbone'), needs('momentum_backbone')),
        ('FreezeLastLayerHook', {}, r"no module 'head\.last_l"),
    ],
)
def test_a_hook_that_does_not_fit_the_model_says_so(toy_config, name, arguments, message) -> None:
    with pytest.raises(UserError, match=f'{name}.* {message}'):
        train(toy_config, name, **arguments)


def draw() -> tuple[float, ...]:
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_iteration_seed_hook_seeds_everything(toy_config) -> None:
    drawn: dict[int, tuple] = {}

    @ROOT_HOOKS.register_module(force=True)
    class DrawHook(hooks.IterationSeedHook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            random.seed(), np.random.seed(), torch.seed()
            super().before_train_iter(runner, batch_idx, data_batch)
            now = draw()
            assert drawn.setdefault(runner.iter, now) == now

    for _ in range(2):
        cfg = toy_config(length=1)
        cfg.custom_hooks = [dict(type='DrawHook')]
        apis.train(cfg)
    assert len({value for now in drawn.values() for value in now}) == 18
    seeds = {iteration_seed(s, i, r) for s in range(3) for i in range(3) for r in range(3)}
    assert len(seeds) == 27


@pytest.mark.parametrize('by_epoch', [True, False])
def test_non_finite_loss_stops_training(toy_config, by_epoch) -> None:
    cfg = toy_config(by_epoch=by_epoch, length=2 if by_epoch else 20)
    cfg.train_dataloader.sampler.shuffle = False
    cfg.train_dataloader.dataset.bad_item = 13  # in the fourth batch
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1, max_keep_ckpts=1)
    cfg.custom_hooks = [dict(type='lightvit_dense.NonFiniteLossGuard', max_images=2)]
    with pytest.raises(hooks.NonFiniteLossError) as caught:
        apis.train(cfg)
    message = str(caught.value)
    assert 'loss_fit = nan, loss_size = nan at iteration 4 (rank 0)' in message
    assert 'images/12.jpg, images/13.jpg and 2 more' in message
    assert caught.value.exit_status == 1
    assert [path.name for path in Path(cfg.work_dir).glob('*.pth')] == ['iter_3.pth']
    saved = torch.load(Path(cfg.work_dir) / 'iter_3.pth', weights_only=False)
    assert all(value.isfinite().all() for value in saved['state_dict'].values())


@ROOT_MODELS.register_module(force=True)
class RootOfNothing(ToyRegressor):
    """From the fourth step on, the loss is finite and its gradient is not."""

    steps = 0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        losses = super().forward(inputs, data_samples, mode)
        self.steps += 1
        if self.steps == 4:
            zero = losses['loss_size'] - losses['loss_size'].detach()
            losses['loss_root'] = [losses['loss_size'] * 0, zero.sqrt()]
        return losses


@ROOT_HOOKS.register_module(force=True)
class ScalingHook(hooks.IterationSeedHook):
    """Says that there is a loss scale, which would leave out a step with infinite gradients."""

    def before_train(self, runner) -> None:
        runner.optim_wrapper.loss_scaler = SimpleNamespace(is_enabled=lambda: True)


GRADIENTS = ['grad_norm = nan at iteration 4 (rank 0)', 'Batch: images/12.jpg']
WEIGHTS = ['backbone.fc.weight, backbone.fc.bias, head.weight, head.bias not finite']
WEIGHTS += ['after iteration 4 (rank 0).\nThe checkpoint was not written']


@pytest.mark.parametrize(
    ('clip', 'scale', 'arguments', 'words'),
    [
        (True, False, {}, GRADIENTS),
        (False, False, {}, WEIGHTS),
        (True, False, dict(gradients=False), WEIGHTS),
        (True, True, {}, WEIGHTS),  # infinite gradients under a loss scale are normal
    ],
)
def test_non_finite_gradients_or_weights_stop_training(
    toy_config, clip, scale, arguments, words
) -> None:
    cfg = toy_config(by_epoch=False, length=8)
    cfg.model.type = 'RootOfNothing'
    cfg.train_dataloader.sampler.shuffle = False
    cfg.default_hooks.checkpoint.interval = 1
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0) if clip else None
    cfg.custom_hooks = [dict(type='lightvit_dense.NonFiniteLossGuard', **arguments)]
    cfg.custom_hooks += [dict(type='ScalingHook')] * scale
    with pytest.raises(hooks.NonFiniteLossError) as caught:
        apis.train(cfg)
    assert all(text in str(caught.value) for text in words)
    names = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    assert names == ['iter_1.pth', 'iter_2.pth', 'iter_3.pth']


@pytest.mark.parametrize('bad', [23, 19])
def test_the_last_iteration_is_checked_without_a_checkpoint(toy_config, bad) -> None:
    cfg = toy_config(length=1)
    cfg.train_dataloader.sampler.shuffle = False
    cfg.train_dataloader.dataset.bad_item = bad
    cfg.default_hooks.checkpoint = None
    cfg.custom_hooks = [dict(type='lightvit_dense.NonFiniteLossGuard')]
    with pytest.raises(hooks.NonFiniteLossError, match=f'iteration {bad // 4 + 1} .*\n.*{bad}.jpg'):
        apis.train(cfg)


def test_infinite_buffers_are_let_pass() -> None:
    inf, nan = float('inf'), float('nan')
    state = dict(
        mask=torch.tensor([0.0, -inf]),
        table=torch.tensor([1.0, nan]),
        weight=torch.tensor([1.0, inf]),
        huge=torch.full((4,), 3e38),
        count=torch.tensor(3),
        note='text',
    )
    assert non_finite_entries(state, {'weight', 'huge'}) == ['table', 'weight']


@pytest.mark.parametrize(
    ('name', 'loss', 'said'),
    [
        ('loss_rpn_cls', [torch.tensor(1.0), torch.tensor(float('inf'))], 'loss_rpn_cls = inf'),
        ('decode.loss_ce', torch.tensor(float('nan')), 'decode.loss_ce = nan'),
    ],
)
def test_losses_of_detection_and_segmentation_and_their_images_are_named(name, loss, said) -> None:
    """The losses have lists and dots in their names."""
    losses = {name: loss, 'loss_mask': torch.tensor(0.5), 'decode.acc_seg': torch.tensor(1.0)}
    _, outputs = ToyRegressor(dict(type='lightvit_dense.ToyBackbone')).parse_losses(losses)
    samples = [BaseDataElement(metainfo=dict(img_path='images/0.jpg', img_id=0))]
    samples += [BaseDataElement(metainfo=dict(img_id=7)), object()]
    runner = SimpleNamespace(message_hub=MessageHub('losses'), iter=6, work_dir='w')
    for key, value in outputs.items():
        runner.message_hub.update_scalar(f'train/{key}', value)
    guard = hooks.NonFiniteLossGuard()
    guard.after_train_iter(runner, 6, dict(inputs=[], data_samples=samples), outputs)
    with pytest.raises(hooks.NonFiniteLossError) as caught:
        guard.after_train_iter(runner, 7, {}, {})
    assert f'training stopped: {said} at iteration 7' in str(caught.value)
    assert 'Batch: images/0.jpg, img_id 7, (unnamed image)' in str(caught.value)


def test_distill_weight_shapes() -> None:
    arguments = dict(begin=10, end=20, start_value=1.0, end_value=3.0)
    linear = hooks.DistillWeightScheduleHook(**arguments)
    assert [linear.value(i) for i in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]
    cosine = hooks.DistillWeightScheduleHook(**arguments, shape='cosine')
    assert cosine.value(12) == pytest.approx(1 + 2 * (1 - math.cos(0.2 * math.pi)) / 2)


@pytest.mark.parametrize('by_epoch', [True, False])
def test_distill_weight_follows_progress(toy_config, by_epoch) -> None:
    end = 1 if by_epoch else 11
    schedule = dict(begin=0, end=end, start_value=2.0, end_value=0.0, by_epoch=by_epoch)
    runner, folder = train(toy_config, 'DistillWeightScheduleHook', 'ToyMasked', 2, **schedule)
    values = [2 * (1 - (i // 6 if by_epoch else i / 11)) for i in range(12)]
    assert runner.model.seen_weights == pytest.approx(values)
    assert runner.message_hub.get_scalar('train/distill_weight').current() == 0.0
    log = next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    assert [json.loads(line)['distill_weight'] for line in log] == pytest.approx(values)


def test_reconstructions_are_drawn_without_disturbing_training(toy_config) -> None:
    weights = []
    for extra in ([], [dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=4)]):
        clear_globals()
        cfg = toy_config(length=1)
        cfg.model.type = 'lightvit_dense.ToyMasked'
        cfg.custom_hooks = extra
        cfg.train_dataloader.dataset.type = 'lightvit_dense.ToyImages'
        weights.append(apis.train(cfg).model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    folder = Path(cfg.work_dir) / 'reconstructions'
    assert sorted(path.name for path in folder.iterdir()) == ['iter_4.png', 'iter_6.png']
    first, last = (np.array(Image.open(folder / f'iter_{i}.png')) for i in (4, 6))
    assert first.shape == (4 * 6 - 4, 3 * 6 - 4, 3)
    # The same images behind the same mask; only the reconstruction moves.
    assert np.array_equal(first[:, :12], last[:, :12])
    assert not np.array_equal(first[:, 12:], last[:, 12:])
    assert len(list(Path(cfg.work_dir).glob('*/vis_data/vis_image/reconstruction_*.png'))) == 2


def test_attention_agreement_is_logged(toy_config) -> None:
    runner, folder = train(toy_config, 'AttentionAgreementHook', 'ToyMasked', interval=3)
    history, _ = runner.message_hub.get_scalar('train/agreement/layer_2').data
    assert list(history) == [1.0, 3.0, 6.0]  # the toy reports its iteration
    assert runner.model.training
    assert 'agreement/layer_2: 6.0000' in next(folder.glob('*/*.log')).read_text()


@pytest.mark.parametrize('ema', [None, dict(momentum=0.5)])
def test_backbone_is_exported(toy_config, ema) -> None:
    cfg = toy_config(length=1)
    cfg.engine = dict(ema=ema)
    cfg.custom_hooks = [dict(type='lightvit_dense.ExportBackboneHook', filename='b.safetensors')]
    runner = apis.train(cfg)
    exported = load_file(Path(cfg.work_dir) / 'b.safetensors')
    # EMAHook stores the average as the checkpoint's state_dict, the trained weights aside.
    saved = torch.load(Path(cfg.work_dir) / 'epoch_1.pth', weights_only=False)
    assert exported.keys() == {'fc.weight', 'fc.bias'}
    for name, value in exported.items():
        assert torch.equal(value, saved['state_dict'][f'backbone.{name}'])
    same = torch.equal(exported['fc.weight'], runner.model.backbone.fc.weight)
    assert same == (ema is None)
    meta = json.loads((Path(cfg.work_dir) / 'b.json').read_text())['meta']
    assert meta['weights'] == ('trained' if ema is None else 'exponential moving average')
    assert (meta['iteration'], meta['epoch'], meta['seed']) == (6, 1, 3)
    assert meta['versions']['torch'] == torch.__version__
    assert 'ToyRegressor' in meta['config']


def test_resources_are_logged(toy_config) -> None:
    runner, _ = train(toy_config, 'ResourceHook', length=2, interval=3)
    speeds, _ = runner.message_hub.get_scalar('train/images_per_second').data
    assert len(speeds) == 6
    assert all(0 < speed < 1e6 for speed in speeds)
    assert runner.message_hub.get_scalar('train/peak_memory_mb').current() > 50


def test_separate_randomness_restores_every_state() -> None:
    drawn = []
    for apart in (False, True):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        with separate_randomness(5) if apart else nullcontext():
            inside = draw() if apart else None
        drawn.append(draw())
    assert drawn[0] == drawn[1] != inside


def test_ranks_that_differ_in_one_bit_are_refused(monkeypatch) -> None:
    model = nn.Linear(3, 2)
    digests = [parameter_digest(model)] * 3
    where = 'lightvit_dense.engine.hooks.distributed.all_gather_object'
    monkeypatch.setattr(where, lambda digest: digests)
    hook, runner = hooks.RankConsistencyHook(), Mock(model=model)
    hook.after_train(runner)
    with torch.no_grad():
        model.weight[0, 0] = torch.nextafter(model.weight[0, 0], torch.tensor(9.0))
    digests[2] = parameter_digest(model)
    with pytest.raises(RuntimeError, match=r'rank\(s\) \[2\] differ'):
        hook.after_train(runner)


@pytest.mark.parametrize(
    'inputs',
    [
        torch.zeros(5, 3, 4, 4),
        [torch.zeros(3, 4, 4)] * 5,
        [torch.zeros(5, 3, 4, 4), torch.zeros(5, 3, 2, 2)],
        dict(template=[torch.zeros(3, 2, 2)] * 5, search=[torch.zeros(3, 4, 4)] * 5),
    ],
)
def test_views_of_an_image_count_once(inputs: object) -> None:
    assert batch_size(dict(inputs=inputs)) == 5
    assert batch_size((inputs, None)) == 5


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('validates', [True, False])
@pytest.mark.parametrize('done', [0, 2, 3])
def test_only_a_training_with_nothing_left_is_validated_if_at_all(by_epoch, validates, done):
    loop, hook = Mock() if validates else None, hooks.FinalValidationHook()
    places = dict(iter=done * 10, epoch=done, max_iters=30, max_epochs=3)
    if not by_epoch:
        places = dict(iter=done, epoch=0, max_iters=3, max_epochs=1)
    places['train_loop'] = Mock(spec=EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop)
    runner = SimpleNamespace(**places, logger=Mock(), _val_loop=loop, val_loop=loop)
    hook.before_train(runner)
    hook.after_train(runner)
    if validates:
        assert loop.run.call_count == (done == 3)


def part(classes, **heads):
    return SimpleNamespace(num_classes=classes, **heads)


def check_classes(when, model, classes):
    dataset = SimpleNamespace(metainfo={} if classes is None else {'classes': classes})
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    runner = SimpleNamespace(model=model, train_loop=loop, val_loop=loop, test_loop=loop)
    getattr(hooks.ClassCountHook(), when)(runner)


WHENEVER = pytest.mark.parametrize('when', ['before_train', 'before_val', 'before_test'])
PROPOSALS = part(None, rpn_head=part(1), roi_head=part(None, bbox_head=part(3)))


@WHENEVER
@pytest.mark.parametrize(
    ('model', 'classes'),
    [(part(3), 'abc'), (part(3), ()), (part(3), None), (object(), 'abc'), (PROPOSALS, 'abc')],
)
def test_the_same_classes_or_none_pass(when, model, classes):
    check_classes(when, model, classes)


@WHENEVER
@pytest.mark.parametrize(
    ('model', 'keys'),
    [
        (part(80), r'model.head\.num_classes'),
        (
            part(None, roi_head=part(None, bbox_head=part(80), mask_head=part(80))),
            'model.roi_head.bbox_head.num_classes and model.roi_head.mask_head.num_classes',
        ),
        (part(None, roi_head=part(None, bbox_head=[part(3), part(80)])), 'bbox_head'),
        (part(80, decode_head=part(80)), 'Set model.decode_head.num_classes to'),
        (part(None, decode_head=part(3), auxiliary_head=part(80)), 'model.auxiliary_head.num_cl'),
    ],
)
def test_other_classes_are_refused_whenever_data_is_read(when, model, keys):
    with pytest.raises(UserError, match=rf'has 3 classes, the model 80\..*{keys}'):
        check_classes(when, model, 'abc')


CLASSES = dict(metainfo=dict(classes='abc'))


def test_labels_are_looked_through_once_in_wrappers_too():
    told = []
    checks = [lambda alone, name=name: told.append((name, alone)) for name in 'abc']
    parts = [SimpleNamespace(check_contents=check, **CLASSES) for check in checks]
    train = SimpleNamespace(dataset=SimpleNamespace(datasets=parts[:2]), **CLASSES)
    loops = [SimpleNamespace(dataloader=SimpleNamespace(dataset=d)) for d in (train, parts[2])]
    runner = SimpleNamespace(model=part(3), train_loop=loops[0], val_loop=loops[1])
    hook = hooks.ClassCountHook()
    hook.before_train(runner)
    assert told == [('a', False), ('b', False)]
    runner._val_loop = loops[1]
    for _ in range(2):
        hook.before_train(runner)
        hook.before_val(runner)
    assert told[2:] == [('c', True)]


VIT = vit(embed_dim=16, num_heads=2, img_size=16)
VIEWS = dict(type='lightvit_dense.MultiViewPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
MOCO = dict(
    type='lightvit_dense.MoCoV3', backbone=VIT, hidden=8, out_channels=8, data_preprocessor=VIEWS
)
DINO = dict(
    type='lightvit_dense.DINO',
    backbone=VIT | dict(drop_path_rate=0.2),
    head=dict(out_channels=12, hidden=8, bottleneck=8),
    data_preprocessor=VIEWS,
)
UPDATE = dict(type='lightvit_dense.MomentumUpdateHook', base=0.9)


@DATASETS.register_module(force=True)
class ToyViews(ToyPoints):
    """Two noisy views [3, 16, 16] of each of 24 random images."""

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(int(index))
        image = torch.randint(0, 200, (3, 16, 16), generator=generator)
        with seeded(getattr(index, 'seed', int(index))):
            views = [(image + torch.randint(0, 50, image.shape)).byte() for _ in range(2)]
        return dict(inputs=views, data_samples=super().__getitem__(index)['data_samples'])


@pytest.fixture
def views_config(toy_config):
    """Make a config: the model, hooks besides, and how the toy engine is configured."""

    def make(model: dict, custom_hooks: list[dict], **options: object) -> Config:
        cfg = toy_config(**options)
        cfg.model = model
        cfg.train_dataloader.dataset = dict(type='lightvit_dense.ToyViews')
        cfg.train_dataloader.sampler.type = 'lightvit_dense.SeededSampler'
        cfg.custom_hooks = custom_hooks
        return cfg

    return make


def train_recording(cfg: Config, *names: str) -> tuple:
    """Train; return the runner and what tensors of the model were after every iteration."""
    seen: list[list] = [[] for _ in names]

    @ROOT_HOOKS.register_module(force=True)
    class RecordHook(Hook):
        priority = 'LOW'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            for name, values in zip(names, seen, strict=True):
                values.append(runner.model.state_dict()[name].clone())

    cfg.custom_hooks.append(dict(type='RecordHook'))
    return apis.train(cfg), *seen


@pytest.mark.parametrize(('accumulate', 'moves'), [(1, range(12)), (5, [4, 9, 11])])
def test_copies_follow_once_a_step_of_the_optimiser(views_config, accumulate, moves) -> None:
    """By the cosine of MoCo-v3's adjust_moco_momentum."""
    # 12 iterations; the last one always steps
    cfg = views_config(MOCO, [UPDATE | dict(end=0.98)], length=2)
    cfg.engine = dict(accumulate=accumulate)
    pair = 'momentum_backbone.cls_token', 'backbone.cls_token'
    runner, copies, leaders = train_recording(cfg, *pair)
    for i in range(1, 12):
        if i in moves:
            m = 0.98 - (0.98 - 0.9) * (1 + math.cos(math.pi * i / 12)) / 2
            expected = m * copies[i - 1] + (1 - m) * leaders[i]
            torch.testing.assert_close(copies[i], expected)
            assert not torch.equal(copies[i], copies[i - 1])
            assert not torch.equal(leaders[i], leaders[i - 1])
        else:
            assert torch.equal(copies[i], copies[i - 1])
            assert torch.equal(leaders[i], leaders[i - 1])
    history, _ = runner.message_hub.get_scalar('train/target_momentum').data
    assert len(history) == len(list(moves))


@pytest.mark.parametrize('model', [MOCO, DINO], ids=['mocov3', 'dino'])
def test_resuming_a_momentum_pretrainer_equals_not_stopping(views_config, tmp_path, model) -> None:
    besides = [
        UPDATE,
        dict(type='lightvit_dense.FreezeLastLayerHook', until=2),
        dict(type='lightvit_dense.TeacherTemperatureHook', start_value=0.04, end_value=0.2, end=3),
    ]
    cfg = views_config(model, besides if model is DINO else besides[:1], length=3)
    whole = run(cfg, tmp_path / 'whole')
    run(cfg, tmp_path / 'stopped', stop_at=10)
    assert_same(whole, run(cfg, tmp_path / 'stopped', resume=True))
    assert any(name.startswith('momentum_backbone') for name in whole['state_dict'])
    assert ('criterion.center' in whole['state_dict']) == (model is DINO)


def test_dinos_last_layer_waits_its_temperature_rises_and_its_teacher_is_exported(
    views_config,
) -> None:
    temperature = dict(start_value=0.04, end_value=0.1, end=2)
    custom = [
        UPDATE,
        dict(type='lightvit_dense.FreezeLastLayerHook', until=1),
        dict(type='lightvit_dense.TeacherTemperatureHook', **temperature),
        dict(type='lightvit_dense.ExportBackboneHook', module='momentum_backbone'),
    ]
    cfg = views_config(DINO, custom, length=3)
    cfg.optim_wrapper.optimizer.weight_decay = 0.5
    cfg.optim_wrapper.clip_grad = dict(max_norm=3.0)
    names = 'head.last_layer.weight_v', 'head.mlp.0.weight'
    runner, last, first = train_recording(cfg, *names)
    changed = [not torch.equal(last[i], last[i - 1]) for i in range(1, 18)]
    assert changed == [False] * 5 + [True] * 12
    assert all(not torch.equal(first[i], first[i - 1]) for i in range(1, 18))
    parameter = runner.model.head.last_layer.weight_v
    assert runner.optim_wrapper.optimizer.state[parameter]['step'] == 12
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks

    history, _ = runner.message_hub.get_scalar('train/teacher_temperature').data
    by_epoch = [0.04, 0.07, 0.1]
    assert list(history) == pytest.approx([value for value in by_epoch for _ in range(6)])
    assert runner.model.criterion.teacher_temperature == pytest.approx(0.1)

    exported = load_file(Path(cfg.work_dir) / 'backbone.safetensors')
    state = runner.model.momentum_backbone.state_dict()
    assert exported.keys() == state.keys() == runner.model.backbone.state_dict().keys()
    assert all(torch.equal(exported[name], value) for name, value in state.items())
    assert not torch.equal(exported['cls_token'], runner.model.backbone.cls_token)
    meta = json.loads((Path(cfg.work_dir) / 'backbone.json').read_text())['meta']
    assert meta['module'] == 'momentum_backbone'
