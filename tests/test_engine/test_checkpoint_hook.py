"""Checkpoints survive a kill at any moment; what they fill of a model is said or refused."""

from pathlib import Path

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import MessageHub
from safetensors.torch import save_file

from lightvit_dense import apis
from lightvit_dense.engine.hooks import LoadReportHook
from lightvit_dense.engine.hooks.checkpoint import BACKEND, AtomicLocalBackend
from lightvit_dense.errors import CheckpointError
from lightvit_dense.registry import METRICS
from tests.helpers.toy_engine import ToyMetric, clear_globals


def test_backend_writes_bytes_and_text(tmp_path) -> None:
    backend = get_file_backend(backend_args=dict(backend=BACKEND))
    for content in (b'\x00\x01', memoryview(b'\x02')):
        backend.put(content, tmp_path / 'bytes')
        assert backend.get(tmp_path / 'bytes') == bytes(content)
    backend.put_text('ä', tmp_path / 'text')
    assert backend.get_text(tmp_path / 'text') == 'ä'


class Died(Exception):
    """Stands for a kill."""


def names(cfg) -> set[str]:
    return {path.name for path in Path(cfg.work_dir).iterdir() if path.suffix in ('.pth', '.tmp')}


@pytest.mark.parametrize(
    ('method', 'file', 'left'),
    [
        ('put', 'epoch_3.pth', {'epoch_2.pth', 'best_seen_epoch_2.pth'}),
        ('put', 'best_seen_epoch_3.pth', {'epoch_3.pth', 'best_seen_epoch_2.pth'}),
        ('remove', 'epoch_2.pth', {'epoch_2.pth', 'epoch_3.pth', 'best_seen_epoch_2.pth'}),
    ],
)
def test_a_kill_leaves_what_was_kept_and_the_next_run_clears_the_rest(
    toy_config, monkeypatch, method, file, left
) -> None:
    """Of a run that keeps the newest and the best, which is better in every epoch."""

    class GrowingMetric(ToyMetric):
        def compute_metrics(self, results: list) -> dict:
            return dict(seen=float(MessageHub.get_current_instance().get_info('epoch')))

    def call_or_die(self, *arguments) -> None:
        if Path(arguments[-1]).name == file:
            raise Died
        original(self, *arguments)

    monkeypatch.setitem(METRICS.module_dict, 'GrowingMetric', GrowingMetric)
    original = getattr(AtomicLocalBackend, method)
    cfg = toy_config(length=3)
    cfg.val_dataloader, cfg.val_cfg = cfg.test_dataloader, {}
    cfg.val_evaluator = dict(type='lightvit_dense.GrowingMetric')
    cfg.default_hooks.checkpoint.update(save_best='seen', rule='greater', max_keep_ckpts=1)
    with monkeypatch.context() as patch:
        patch.setattr(AtomicLocalBackend, method, call_or_die)
        with pytest.raises(Died):
            apis.train(cfg)
    clear_globals()
    assert names(cfg) == left
    (Path(cfg.work_dir) / 'epoch_9.pth').write_bytes(b'of the user')
    for torn in ('.last_checkpoint.abc.tmp', '.epoch_3.pth.abc.tmp'):
        (Path(cfg.work_dir) / torn).write_bytes(b'')
    cfg.train_cfg.max_epochs = 4
    newest = max(name for name in left if name.startswith('epoch'))
    apis.train(cfg, resume=str(Path(cfg.work_dir) / newest))
    assert names(cfg) == {'epoch_4.pth', 'epoch_9.pth', 'best_seen_epoch_4.pth'}


@pytest.fixture
def weights():
    """All values of the toy model, none as it initialises itself."""
    shapes = {'backbone.fc.weight': (8, 4), 'backbone.fc.bias': (8,)}
    shapes |= {'head.weight': (1, 8), 'head.bias': (1,)}
    return {name: torch.full(shape, 0.25) for name, shape in shapes.items()}


def train(toy_config, path: Path, **engine: object):
    """Train for one iteration that changes nothing; return the runner and the log."""
    cfg = toy_config(by_epoch=False, length=1)
    cfg.load_from = str(path)
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.0)
    cfg.engine = engine
    runner = apis.train(cfg)
    return runner, next(Path(cfg.work_dir).glob('*/*.log')).read_text()


def test_a_part_is_loaded_and_the_rest_named(toy_config, tmp_path, weights) -> None:
    weights['head.weight'] = torch.zeros(3, 8)
    weights['neck.weight'] = torch.zeros(2)
    del weights['backbone.fc.bias']
    torch.save(dict(state_dict=weights), tmp_path / 'w.pth')
    runner, log = train(toy_config, tmp_path / 'w.pth')
    assert 'w.pth: fits in part: 2 values of the model are loaded.' in log
    assert 'left as initialised, not in the file: 1 (backbone.fc.bias)' in log
    assert 'left as initialised, of another shape: 1 (head.weight)' in log
    assert 'in the file, not in the model: 1 (neck.weight)' in log
    state = runner.model.state_dict()
    assert torch.equal(state['head.bias'], weights['head.bias'])
    assert not (state['backbone.fc.bias'] == 0.25).any()


def test_bare_weights_of_a_wrapped_model_are_loaded_without_words_and_start_the_average(
    toy_config, tmp_path, weights
) -> None:
    save_file({f'module.{n}': v for n, v in weights.items()}, tmp_path / 'w.safetensors')
    runner, log = train(toy_config, tmp_path / 'w.safetensors', ema=dict(momentum=0.5))
    assert 'fits in part' not in log
    average = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    for model in (runner.model, average):
        assert all(torch.equal(v, weights[n]) for n, v in model.state_dict().items())


def test_a_file_of_which_nothing_fits_is_refused(toy_config, tmp_path) -> None:
    torch.save(dict(state_dict={'fc.weight': torch.zeros(8, 4)}), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError) as caught:
        train(toy_config, tmp_path / 'w.pth')
    path, message = tmp_path / 'w.pth', str(caught.value)
    assert f'{path}: none of its 1 entries fits the model. It holds fc.weight' in message
    assert 'model.backbone.init_cfg' in message


@pytest.mark.parametrize('kind', ['state_dict', 'ema_state_dict'])
@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_weights_that_are_no_numbers_are_refused(toy_config, tmp_path, weights, kind, value):
    path, broken = tmp_path / 'w.pth', {n: v.clone() for n, v in weights.items()}
    broken['backbone.fc.weight'][3, 2] = broken['head.bias'][0] = value
    broken = {f'module.{name}': value for name, value in broken.items()}
    torch.save(dict(state_dict=weights) | {kind: broken}, path)
    words = rf'{path}: 2 of its tensors .* infinite values \(backbone.fc.weight, head.bias\)'
    with pytest.raises(CheckpointError, match=words):
        train(toy_config, path)


def test_a_resume_must_fill_the_whole_model(toy_config, tmp_path) -> None:
    cfg = toy_config(length=1)
    apis.train(cfg)
    path = Path(cfg.work_dir) / 'epoch_1.pth'
    content = torch.load(path, weights_only=False)
    del content['state_dict']['head.bias']
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r'cannot be resumed: 1 of the 4 .*\(head.bias\)'):
        apis.train(cfg, resume=str(path))


def test_a_long_list_is_cut() -> None:
    assert LoadReportHook(max_names=2)._listed(['a', 'b', 'c', 'd']) == 'a, b, ... (2 more)'
    with pytest.raises(ValueError, match='LoadReportHook: max_names=0'):
        LoadReportHook(max_names=0)
