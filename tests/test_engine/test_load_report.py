"""What ``load_from`` fills in training, and what it leaves at random, is said or refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightvit_dense import apis
from lightvit_dense.engine.hooks import LoadReportHook
from lightvit_dense.errors import CheckpointError


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


def test_a_whole_checkpoint_is_loaded_without_words(toy_config, tmp_path, weights) -> None:
    save_file(weights, tmp_path / 'w.safetensors')
    runner, log = train(toy_config, tmp_path / 'w.safetensors')
    assert all(torch.equal(v, weights[n]) for n, v in runner.model.state_dict().items())
    assert 'fits in part' not in log


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


def test_bare_weights_of_a_wrapped_model_start_the_average_too(
    toy_config, tmp_path, weights
) -> None:
    torch.save({f'module.{name}': value for name, value in weights.items()}, tmp_path / 'w.pth')
    runner, log = train(toy_config, tmp_path / 'w.pth', ema=dict(momentum=0.5))
    assert 'fits in part' not in log
    average = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    assert all(torch.equal(v, weights[n]) for n, v in average.state_dict().items())


def test_a_file_of_which_nothing_fits_is_refused(toy_config, tmp_path) -> None:
    torch.save(dict(state_dict={'fc.weight': torch.zeros(8, 4)}), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError) as caught:
        train(toy_config, tmp_path / 'w.pth')
    path, message = tmp_path / 'w.pth', str(caught.value)
    assert f'{path}: none of its 1 entries fits the model. It holds fc.weight' in message
    assert 'model.backbone.init_cfg' in message


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
