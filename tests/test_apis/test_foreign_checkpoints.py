"""Evaluating what others have trained, and refusing what would be evaluated at random."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from timm.models.vision_transformer import VisionTransformer as TimmViT

from lightvit_dense import apis
from lightvit_dense.checkpoints import CheckpointError

CONFIG = """
default_scope = 'lightvit_dense'
model = dict(
    type='lightvit_dense.ImageClassifier',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor', mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        type='lightvit_dense.VisionTransformer', arch=dict(embed_dim=16, depth=2, num_heads=4),
        img_size=16, patch_size=8, final_norm=False),
    head=dict(num_classes=3))
test_dataloader = dict(
    batch_size=5, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='lightvit_dense.ImageNet', data_root={root!r}, img_dir='val',
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb'),
            dict(type='lightvit_dense.CenterResizedCrop', size=16, share=1.0),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',))]))
test_evaluator = dict(type='lightvit_dense.Accuracy', topk=(1,))
test_cfg = dict()
"""


@pytest.fixture
def digits(tmp_path):
    """Write twelve digits of three classes and a config; return it with images and labels."""
    images, labels = load_digits(n_class=3, return_X_y=True)
    pictures, classes = [], []
    for label in range(3):
        folder = tmp_path / 'data/val' / 'abc'[label]
        folder.mkdir(parents=True)
        for number, image in enumerate(images[labels == label][:4]):
            picture = cv2.resize(image.reshape(8, 8).astype('uint8') * 15, (16, 16))
            cv2.imwrite(str(folder / f'{number}.png'), picture)
            pictures.append(picture)
            classes.append(label)
    (tmp_path / 'config.py').write_text(CONFIG.format(root=str(tmp_path / 'data')))
    inputs = torch.tensor(np.array(pictures))[:, None].expand(-1, 3, -1, -1) / 127.5 - 1
    return tmp_path / 'config.py', inputs, torch.tensor(classes)


def timm_model(**kwargs):
    torch.manual_seed(0)
    sizes = dict(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=4, num_classes=3)
    model = TimmViT(**{**sizes, 'global_pool': 'avg', **kwargs}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


def test_a_file_of_mae_lite_is_evaluated_as_it_is(digits, tmp_path):
    config, inputs, labels = digits
    theirs = timm_model()
    with torch.no_grad():
        correct = (theirs(inputs).argmax(1) == labels).float().mean().item() * 100
    state = {f'module.model.{k}': v for k, v in theirs.state_dict().items()}
    torch.save({'model': state, 'start_epoch': 300}, tmp_path / 'last.pth.tar')
    metrics = apis.test(config, tmp_path / 'last.pth.tar', work_dir=tmp_path / 'w')
    assert metrics['accuracy/top1'] == pytest.approx(correct)
    assert correct not in (0, 100)
    model = apis.build_model(config, tmp_path / 'last.pth.tar', 'cpu')
    with torch.no_grad():
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
