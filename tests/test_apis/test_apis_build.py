"""Build a model in one line, whoever trained it, and refuse what would stay at random."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as TimmViT

from lightvit_dense import apis
from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.errors import UserError
from lightvit_dense.registry import DATASETS
from tests.helpers.digits import digits_config, write_digits
from tests.helpers.models import randomise


def test_build_model_initialises_and_loads(write, tmp_path) -> None:
    config = write(length=1)
    model = apis.build_model(config, device='cpu')
    assert not model.training
    assert model.cfg.randomness.seed == 3
    state = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'x.pth')
    loaded = apis.build_model(config, tmp_path / 'x.pth', device='cpu')
    assert all((value == 2).all() for value in loaded.state_dict().values())
    assert not (model.head.weight == 2).any()


def test_build_model_names_what_is_missing(write, tmp_path) -> None:
    with pytest.raises(UserError, match=r'checkpoint nowhere.pth does not exist'):
        apis.build_model(write(), 'nowhere.pth')
    with pytest.raises(UserError, match=r'nothing.py does not exist; .* has toy.py'):
        apis.build_model(tmp_path / 'nothing.py')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('model = dict(', r'x.py cannot be read: SyntaxError'),
        ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module'),
        ("_base_ = 'no_such_base.py'", r'no_such_base.py'),
    ],
)
def test_a_config_that_is_no_config(tmp_path, content, message) -> None:
    (tmp_path / 'x.py').write_text(content)
    with pytest.raises(UserError, match=message):
        apis.load_config(tmp_path / 'x.py')


@pytest.fixture
def digits(tmp_path):
    """Write pictures of three classes and a config; return it with images and labels."""
    write_digits(tmp_path, train=1, val=4)
    cfg = digits_config(tmp_path)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    inputs = torch.stack([dataset[index]['inputs'] for index in range(len(dataset))])
    labels = torch.tensor([dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))])
    for key in ('train_dataloader', 'val_dataloader'):
        cfg.pop(key)
    cfg.dump(tmp_path / 'config.py')
    return tmp_path / 'config.py', (inputs - 127.5) / 60, labels


def timm_model(num_classes=3):
    sizes = dict(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2)
    return randomise(TimmViT(**sizes, num_classes=num_classes, global_pool='avg'), 0.4)


@torch.no_grad()
def test_a_file_of_mae_lite_is_evaluated_as_it_is(digits, tmp_path):
    config, inputs, labels = digits
    theirs = timm_model()
    correct = (theirs(inputs).argmax(1) == labels).float().mean().item() * 100
    state = {f'module.model.{k}': v for k, v in theirs.state_dict().items()}
    torch.save({'model': state, 'start_epoch': 300}, tmp_path / 'last.pth.tar')
    metrics = apis.test(config, tmp_path / 'last.pth.tar', work_dir=tmp_path / 'w')
    assert metrics['accuracy/top1'] == pytest.approx(correct)
    assert correct not in (0, 100)
    model = apis.build_model(config, tmp_path / 'last.pth.tar', 'cpu')
    torch.testing.assert_close(model(inputs), theirs(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('classes', [0, 4])
def test_what_is_not_the_whole_classifier_is_refused(digits, tmp_path, classes):
    config, *_ = digits
    torch.save(timm_model(num_classes=classes).state_dict(), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'x\.pth: is not the whole classifier'):
        apis.test(config, tmp_path / 'x.pth', work_dir=tmp_path / 'w')
    with pytest.raises(CheckpointError, match='is not the whole classifier'):
        apis.build_model(config, tmp_path / 'x.pth', 'cpu')


def test_any_other_model_must_be_filled(write, tmp_path):
    config = write(length=1)
    state = apis.build_model(config, device='cpu').state_dict()
    name = next(iter(state))
    torch.save({'state_dict': {f'module.{k}': v for k, v in state.items()}}, tmp_path / 'a.pth')
    apis.build_model(config, tmp_path / 'a.pth', 'cpu')
    torch.save({'state_dict': {**state, name: torch.zeros(7, 7)}}, tmp_path / 'b.pth')
    message = rf'b\.pth: does not fill the model: 1 of its \d+ values(.|\n)*\({name}\)'
    for call in (apis.build_model, lambda *a: apis.test(*a, work_dir=tmp_path / 'w')):
        with pytest.raises(CheckpointError, match=message):
            call(config, tmp_path / 'b.pth')
