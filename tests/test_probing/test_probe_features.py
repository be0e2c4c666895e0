"""Features of a frozen network: what they are, and when they are taken from the disk."""

import re
import sys

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightvit_dense import probing
from lightvit_dense.apis import frozen_backbone
from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from tests.helpers.digits import BACKBONE, digits_config, write_digits


@pytest.fixture
def root(tmp_path):
    """30 pictures to train, 15 to validate."""
    write_digits(tmp_path, train=10, val=5)
    return tmp_path


@pytest.fixture
def trained():
    torch.manual_seed(1)
    return MODELS.build(BACKBONE | dict(final_norm=True)).eval()


@pytest.fixture
def checkpoint(tmp_path, trained):
    save_file(trained.state_dict(), tmp_path / 'backbone.safetensors')
    return str(tmp_path / 'backbone.safetensors')


def take(cfg, checkpoint, cache, part=0, layers=(0,), pools=('cls',)):
    model = frozen_backbone(cfg, checkpoint, 'cpu')
    plan = probing.Plan.of_config(cfg)[part]
    lines = []
    spaces = probing.spaces_of(model.backbone, pools, layers)
    result, cached = probing.extract(model, plan, spaces, cache, say=lines.append)
    return result, cached, lines


def test_features_are_those_of_the_network(root, checkpoint, trained, tmp_path):
    cfg = digits_config(root)
    part, cached, _ = take(
        cfg, checkpoint, tmp_path / 'cache', 1, layers=(0, 1), pools=('cls', 'mean')
    )
    assert not cached
    assert part.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    dataset = probing.Plan.of_config(cfg)[1].dataset()
    batch = torch.stack([dataset[i]['inputs'] for i in range(15)]).float()
    with torch.no_grad():
        encoding = trained.encode((batch - 127.5) / 60, hidden_of=(1,))
    for name, tokens in (('', encoding.tokens), ('_layer1', encoding.hidden[1])):
        for pool, x in (('cls', tokens[:, 0]), ('mean', tokens[:, 1:].mean(1))):
            found = torch.from_numpy(np.array(part.features[pool + name]))
            torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-5)


def test_the_network_runs_once(root, checkpoint, tmp_path, monkeypatch):
    cfg, cache = digits_config(root), tmp_path / 'cache'
    first, cached, _ = take(cfg, checkpoint, cache)
    assert (cached, len(first.labels)) == (False, 30)
    runs = []
    module = sys.modules[probing.extract.__module__]
    original = module.read_features

    def counted(model, batch, spaces):
        runs.append([space.name for space in spaces])
        return original(model, batch, spaces)

    monkeypatch.setattr(module, 'read_features', counted)
    again, cached, lines = take(cfg, checkpoint, cache)
    assert (cached, lines, runs) == (True, [], [])
    np.testing.assert_array_equal(again.features['cls'], first.features['cls'])
    # What is new is added to what is there.
    both, cached, _ = take(cfg, checkpoint, cache, layers=(0, 1))
    assert not cached
    assert {tuple(run) for run in runs} == {('cls_layer1',)}
    np.testing.assert_array_equal(both.features['cls'], first.features['cls'])
    assert len(list(cache.iterdir())) == 1


def test_whatever_changes_features_makes_new_ones(root, checkpoint, trained, tmp_path):
    cache = tmp_path / 'cache'
    take(digits_config(root), checkpoint, cache)

    def is_known(cfg=None, weights=checkpoint):
        return take(cfg or digits_config(root), weights, cache)[1]

    assert is_known(digits_config(root, drop_path_rate=0.0, init_cfg=None))
    other = digits_config(root)
    other.val_dataloader.dataset.pipeline[1].ratio = 0.9
    assert not is_known(other)
    other = digits_config(root)
    other.model.data_preprocessor.std = [50.0] * 3
    assert not is_known(other)
    state = dict(trained.state_dict())
    state['norm.weight'] = state['norm.weight'] * 2
    save_file(state, tmp_path / 'other.safetensors')
    assert not is_known(weights=str(tmp_path / 'other.safetensors'))
    assert is_known()
    picture = root / 'train/digit1/3.png'  # another picture under the same name
    assert cv2.imwrite(str(picture), 255 - cv2.imread(str(picture)))
    assert not is_known()
    picture.rename(root / 'train/digit1/30.png')
    assert not is_known()
    assert not is_known(weights='none')
    assert is_known(weights='none')


@pytest.mark.parametrize(
    ('harm', 'line'),
    [
        (lambda npy, _: npy.write_bytes(npy.read_bytes()[:-9] + b'\1' * 9), 'its digest differs'),
        (lambda npy, _: npy.write_bytes(npy.read_bytes()[:200]), 'its digest differs'),
        (lambda npy, _: npy.unlink(), r'cannot be read \(FileNotFoundError\)'),
        (lambda _, metadata: metadata.write_text('{'), r'cannot be read \(JSONDecodeError\)'),
        (
            lambda _, metadata: metadata.write_text('{"identity": "0", "sha256": "", "shape": []}'),
            'belongs to other weights or data',
        ),
    ],
)
def test_what_is_damaged_is_made_anew(root, checkpoint, tmp_path, harm, line):
    cfg, cache = digits_config(root), tmp_path / 'cache'
    whole = np.array(take(cfg, checkpoint, cache)[0].features['cls'])
    (npy,) = cache.rglob('cls.npy')
    harm(npy, npy.with_suffix('.json'))
    part, cached, lines = take(cfg, checkpoint, cache)
    assert not cached
    assert len(lines) == 1
    assert re.search(rf'cls\.npy {line}: it is made anew', lines[0])
    np.testing.assert_array_equal(part.features['cls'], whole)
    assert take(cfg, checkpoint, cache)[1]


def test_an_interrupted_run_leaves_nothing(root, checkpoint, tmp_path):
    cfg, cache = digits_config(root), tmp_path / 'cache'
    model = frozen_backbone(cfg, checkpoint, 'cpu')
    plan, spaces = probing.Plan.of_config(cfg)[0], [probing.Space('cls')]

    def stop(done, total):
        assert total == 30
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probing.extract(model, plan, spaces, cache, on_progress=stop)
    assert [path.name for path in cache.rglob('*') if path.is_file()] == ['.lock']
    assert not take(cfg, checkpoint, cache)[1]
    assert take(cfg, checkpoint, cache)[1]


def test_features_that_are_no_numbers_are_refused(root, trained, tmp_path):
    state = dict(trained.state_dict())
    state['norm.weight'] = torch.full((16,), 3e38)  # itself finite
    save_file(state, tmp_path / 'nan.safetensors')
    with pytest.raises(UserError, match='features cls of image 0 are not finite'):
        take(digits_config(root), str(tmp_path / 'nan.safetensors'), tmp_path / 'cache')
    assert not list((tmp_path / 'cache').rglob('*.npy'))


def test_checkpoints_that_lack_something(root, trained, tmp_path):
    cfg = digits_config(root)
    bare = {k: v for k, v in trained.state_dict().items() if not k.startswith('norm.')}
    save_file(bare, tmp_path / 'bare.safetensors')
    model = frozen_backbone(cfg, tmp_path / 'bare.safetensors')
    assert model.notes == ['the checkpoint has no final norm: a plain LayerNorm took its place']
    half = {k: v for k, v in bare.items() if not k.startswith('blocks.1.mlp.fc2')}
    save_file(half, tmp_path / 'half.safetensors')
    with pytest.raises(UserError, match=r'lacks 2 parameters .* blocks\.1\.mlp\.fc2'):
        frozen_backbone(cfg, tmp_path / 'half.safetensors')
    with pytest.raises(CheckpointError, match='does not exist'):
        frozen_backbone(cfg, tmp_path / 'absent.pth')


def test_requests_that_cannot_be_met(root, checkpoint, tmp_path):
    backbone = frozen_backbone(digits_config(root), checkpoint).backbone
    with pytest.raises(UserError, match=r'--layer 3: the backbone has 2 layers'):
        probing.spaces_of(backbone, None, [3])
    backbone = frozen_backbone(digits_config(root, cls_token=False)).backbone
    spaces = probing.spaces_of(backbone, None, [0, 2])
    assert [space.name for space in spaces] == ['mean', 'mean_layer2']
    with pytest.raises(UserError, match='--features cls: the backbone has no class token'):
        probing.spaces_of(backbone, ['cls'], [0])
    unlabelled = digits_config(root)
    unlabelled.train_dataloader.dataset.with_labels = False
    with pytest.raises(UserError, match='gives no labels'):
        take(unlabelled, checkpoint, tmp_path / 'cache')
    wrapped = digits_config(root)
    wrapped.train_dataloader.dataset = dict(type='RepeatDataset', dataset={}, times=2)
    with pytest.raises(UserError, match='has no pipeline of its own'):
        probing.Plan.of_config(wrapped)
    convolutional = digits_config(root)
    convolutional.model.backbone = dict(type='lightvit_dense.TimmBackbone', name='resnet18')
    with pytest.raises(UserError, match='TimmBackbone has no tokens to read'):
        frozen_backbone(convolutional)
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written'):
        take(digits_config(root), checkpoint, tmp_path / 'file')
