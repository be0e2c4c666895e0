"""Every hook: what it refuses, then what it does."""

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import MODELS as ROOT_MODELS
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lightvit_dense import apis
from lightvit_dense.engine import hooks
from lightvit_dense.engine.hooks.distributed import parameter_digest
from lightvit_dense.engine.hooks.non_finite import image_name, non_finite_entries
from lightvit_dense.engine.hooks.resources import batch_size
from lightvit_dense.engine.hooks.resume import iteration_seed
from lightvit_dense.engine.unwrap import separate_randomness
from tests.helpers.toy_engine import ToyRegressor

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


@pytest.mark.parametrize(
    ('name', 'arguments', 'attribute'),
    [
        ('ReconstructionVisualizationHook', {}, 'reconstruct'),
        ('AttentionAgreementHook', {}, 'attention_agreement'),
        ('DistillWeightScheduleHook', dict(SCHEDULE, begin=0), 'distiller'),
        ('TeacherTemperatureHook', SCHEDULE, 'criterion'),
        ('MomentumUpdateHook', {}, 'update_ema_targets'),
        ('ExportBackboneHook', dict(module='momentum_backbone'), 'momentum_backbone'),
    ],
)
def test_a_hook_that_does_not_fit_the_model_says_so(toy_config, name, arguments, attribute) -> None:
    match = f'{name} needs .*{attribute}.*ToyRegressor has none: remove the hook'
    with pytest.raises(TypeError, match=match):
        train(toy_config, name, **arguments)


def test_a_layer_to_freeze_must_be_there(toy_config) -> None:
    with pytest.raises(ValueError, match=r"no module 'head\.last_l"):
        train(toy_config, 'FreezeLastLayerHook')


def test_iteration_seed_depends_on_all_its_parts() -> None:
    seeds = {iteration_seed(s, i, r) for s in range(3) for i in range(3) for r in range(3)}
    assert len(seeds) == 27
    assert iteration_seed(1, 2, 3) == iteration_seed(1, 2, 3)


def test_iteration_seed_hook_seeds_everything(toy_config) -> None:
    drawn: dict[int, tuple] = {}

    @ROOT_HOOKS.register_module(force=True)
    class DrawHook(hooks.IterationSeedHook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            random.seed(), np.random.seed(), torch.seed()
            super().before_train_iter(runner, batch_idx, data_batch)
            draw = random.random(), np.random.rand(), torch.rand(()).item()
            assert drawn.setdefault(runner.iter, draw) == draw

    for _ in range(2):
        cfg = toy_config(length=1)
        cfg.custom_hooks = [dict(type='DrawHook')]
        apis.train(cfg)
    assert len({value for draw in drawn.values() for value in draw}) == 18


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


def train_on_nothing(toy_config, clip: bool, scale: bool = False, **arguments):
    cfg = toy_config(by_epoch=False, length=8)
    cfg.model.type = 'RootOfNothing'
    cfg.train_dataloader.sampler.shuffle = False
    cfg.default_hooks.checkpoint.interval = 1
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0) if clip else None
    cfg.custom_hooks = [dict(type='lightvit_dense.NonFiniteLossGuard', **arguments)]
    if scale:
        cfg.custom_hooks.append(dict(type='ScalingHook'))
    with pytest.raises(hooks.NonFiniteLossError) as caught:
        apis.train(cfg)
    names = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    assert names == ['iter_1.pth', 'iter_2.pth', 'iter_3.pth']
    return str(caught.value)


def test_non_finite_gradients_stop_training(toy_config) -> None:
    message = train_on_nothing(toy_config, clip=True)
    assert 'grad_norm = nan at iteration 4 (rank 0)' in message
    assert 'Batch: images/12.jpg' in message


@pytest.mark.parametrize(('clip', 'arguments'), [(False, {}), (True, dict(gradients=False))])
def test_weights_that_are_no_numbers_are_not_written(toy_config, clip, arguments) -> None:
    message = train_on_nothing(toy_config, clip, **arguments)
    assert 'backbone.fc.weight, backbone.fc.bias, head.weight, head.bias not finite' in message
    assert 'after iteration 4 (rank 0).\nThe checkpoint was not written' in message


def test_infinite_gradients_under_a_loss_scale_are_normal(toy_config) -> None:
    """The scaler leaves such a step out; here it is only said to be there, so weights break."""

    @ROOT_HOOKS.register_module(force=True)
    class ScalingHook(hooks.IterationSeedHook):
        def before_train(self, runner) -> None:
            runner.optim_wrapper.loss_scaler = SimpleNamespace(is_enabled=lambda: True)

    assert 'The checkpoint was not written' in train_on_nothing(toy_config, clip=True, scale=True)


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
    ('task', 'name', 'loss', 'said'),
    [
        ('mmdet', 'loss_rpn_cls', [1.0, float('inf')], 'loss_rpn_cls = inf'),
        ('mmseg', 'decode.loss_ce', float('nan'), 'decode.loss_ce = nan'),
    ],
)
def test_images_of_detection_and_segmentation_are_named(task, name, loss, said) -> None:
    """The losses have lists and dots in their names; both kinds of samples say their file."""
    from mmdet.structures import DetDataSample
    from mmseg.structures import SegDataSample

    kind = DetDataSample if task == 'mmdet' else SegDataSample
    value = [torch.tensor(v) for v in loss] if isinstance(loss, list) else torch.tensor(loss)
    losses = {name: value, 'loss_mask': torch.tensor(0.5), 'decode.acc_seg': torch.tensor(1.0)}
    _, outputs = ToyRegressor(dict(type='lightvit_dense.ToyBackbone')).parse_losses(losses)
    samples = [kind(metainfo=dict(img_path=f'images/{i}.jpg', img_id=i)) for i in range(2)]
    runner = SimpleNamespace(message_hub=SimpleNamespace(log_scalars={}), iter=6, work_dir='w')
    with pytest.raises(hooks.NonFiniteLossError) as caught:
        hooks.NonFiniteLossGuard().after_train_iter(
            runner, 6, dict(inputs=[], data_samples=samples), outputs
        )
    assert f'training stopped: {said} at iteration 7' in str(caught.value)
    assert 'Batch: images/0.jpg, images/1.jpg' in str(caught.value)


def test_image_name_falls_back() -> None:
    from mmengine.structures import BaseDataElement

    assert image_name(BaseDataElement(metainfo=dict(img_id=7))) == 'img_id 7'
    assert image_name(object()) == '(unnamed image)'


def test_distill_weight_shapes() -> None:
    arguments = dict(begin=10, end=20, start_value=1.0, end_value=3.0)
    linear = hooks.DistillWeightScheduleHook(**arguments)
    assert [linear.value(i) for i in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]
    cosine = hooks.DistillWeightScheduleHook(**arguments, shape='cosine')
    assert cosine.value(15) == pytest.approx(2)
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
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with separate_randomness(5):
        inside = random.random(), np.random.rand(), torch.rand(()).item()
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert inside != expected


def test_parameter_digest_sees_one_bit() -> None:
    model = nn.Linear(3, 2)
    before = parameter_digest(model)
    assert parameter_digest(model) == before
    with torch.no_grad():
        model.weight[0, 0] = torch.nextafter(model.weight[0, 0], torch.tensor(9.0))
    assert parameter_digest(model) != before


def test_differing_ranks_are_refused(monkeypatch) -> None:
    model = nn.Linear(3, 2)
    monkeypatch.setattr(
        'lightvit_dense.engine.hooks.distributed.all_gather_object',
        lambda digest: [digest, digest, 'another'],
    )
    runner = type('Runner', (), dict(model=model))()
    with pytest.raises(RuntimeError, match=r'rank\(s\) \[2\] differ'):
        hooks.RankConsistencyHook().after_train(runner)


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
