"""Models, and parts of detectors and segmentors, as ONNX files."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from lightvit_dense.deploy import (
    add_metadata,
    compare_labels,
    compare_onnx,
    export_onnx,
    make_normalisation,
    make_part,
    onnx_session,
)
from lightvit_dense.deploy.pooling import FixedAdaptivePool, pooling_matrix, with_fixed_pools
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from tests.helpers.small_dense import build, detector_config, segmentor_config

VIT = dict(type='lightvit_dense.VisionTransformer', patch_size=8)
VIT |= dict(arch=dict(embed_dim=24, depth=2, num_heads=3))
HIERA = dict(type='lightvit_dense.Hiera', q_pool=1, mask_unit_attn=(True, False))
HIERA |= dict(arch=dict(embed_dim=8, stages=(1, 1), num_heads=1, mask_unit=4))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draw the same random numbers in every run."""
    torch.manual_seed(0)


def drawn(model: nn.Module) -> nn.Module:
    """Draw the relative positions: zeros would hide what is wrong with them, and be kept once."""
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name or 'relative_position' in name:
            nn.init.normal_(parameter)
    return model.eval()


@pytest.mark.parametrize(
    'backbone',
    [VIT, VIT | dict(rel_pos=dict(kind='bias')), HIERA],
    ids=['plain', 'relative', 'hiera'],
)
def test_a_classifier_gives_the_same_logits_for_any_batch(backbone: dict, tmp_path: Path) -> None:
    backbone = backbone | dict(final_norm=False, img_size=32)
    kind = 'lightvit_dense.ImageClassifier'
    model = drawn(MODELS.build(dict(type=kind, backbone=backbone, head=dict(num_classes=5))))
    path = tmp_path / 'new' / 'model.onnx'
    export_onnx(model, path, torch.randn(2, 3, 32, 32), ['logits'])
    session = onnx_session(path, threads=1)
    assert [out.name for out in session.get_outputs()] == ['logits']
    for batch in (1, 2, 5):
        parity = compare_onnx(session, model, torch.randn(batch, 3, 32, 32))
        assert max(parity.relative, parity.largest) < 1e-5


def test_tables_of_relative_positions_stay_small(tmp_path: Path) -> None:
    arch = dict(embed_dim=16, depth=6, num_heads=4)
    model = MODELS.build(VIT | dict(arch=arch, img_size=128, rel_pos=dict(kind='bias')))
    path = tmp_path / 'model.onnx'
    export_onnx(drawn(model), path, torch.randn(1, 3, 128, 128), ['tokens'])
    pairs = (16 * 16 + 1) ** 2
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # One int64 index for all blocks; the biases of a single block are 16 bytes a pair.
    assert path.stat().st_size < 4 * parameters + 8 * pairs + 2**17


def test_a_backbone_with_several_outputs(tmp_path: Path) -> None:
    options = dict(img_size=(32, 48), out_type='featmap', out_indices=(0, 1))
    model = MODELS.build(VIT | options).eval()
    images = torch.randn(1, 3, 32, 48)
    path = export_onnx(model, tmp_path / 'model.onnx', images, ['map'], dynamic_batch=False)
    session = onnx_session(path, threads=1)
    assert [out.name for out in session.get_outputs()] == ['map0', 'map1']
    assert session.get_outputs()[1].shape == [1, 24, 4, 6]
    assert compare_onnx(session, model, images).relative < 1e-5
    with pytest.raises(ValueError, match='2 outputs, output_names has 3'):
        export_onnx(model, tmp_path / 'model.onnx', images, ['a', 'b', 'c'])


def test_a_difference_is_found_and_metadata_are_kept(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    images = torch.randn(1, 3, 2, 2)
    path = export_onnx(model, tmp_path / 'model.onnx', images)
    add_metadata(path, dict(task='none', classes='["a"]'))
    session = onnx_session(path, threads=1)
    assert session.get_modelmeta().custom_metadata_map == dict(task='none', classes='["a"]')
    assert compare_onnx(session, model, images).relative < 1e-5
    with torch.no_grad():
        model[1].bias[0] += 0.25
    parity = compare_onnx(session, model, images)
    assert parity.largest == pytest.approx(0.25, abs=1e-5)
    assert parity.relative == pytest.approx(0.25 / model(images).abs().max().item(), rel=1e-4)


def pixels(*size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, *size), generator=generator).float()


def save(part: nn.Module, names: list[str], size: tuple[int, int], path: Path, batch: int = 2):
    export_onnx(part, path, pixels(*size, batch=batch), names, dynamic_batch=batch > 1)
    return onnx_session(path, threads=1)


def prepared(model: nn.Module, image: Tensor) -> Tensor:
    """Prepare an image [1, 3, H, W] as testing does, from BGR bytes."""
    data = dict(inputs=[image[0].flip(0).byte()], data_samples=None)
    return model.data_preprocessor(data, False)['inputs']


@torch.no_grad()
def predict(model: nn.Module, image: Tensor):
    model.keep_scores = True
    (sample,) = model.predict(prepared(model, image))
    return sample


@pytest.fixture(scope='module')
def detector() -> tuple:
    model = drawn(build(detector_config()))
    return model, make_normalisation(model, detector_config().test_dataloader.dataset.pipeline)


@pytest.fixture(scope='module')
def segmentor() -> tuple:
    model = build(segmentor_config())
    return model, make_normalisation(model, segmentor_config().test_dataloader.dataset.pipeline)


@pytest.mark.parametrize('size', [(64, 64), (96, 160)])
def test_windows_and_relative_positions_at_any_size(detector, size, tmp_path: Path) -> None:
    model, normalisation = detector
    part, names = make_part(model, 'detection', 'backbone+neck', size, normalisation)
    session = save(part, names, size, tmp_path / 'model.onnx')
    assert [out.name for out in session.get_outputs()] == ['map0', 'map1', 'map2', 'map3']
    for batch in (1, 3):
        assert compare_onnx(session, part, pixels(*size, batch=batch)).relative < 1e-5
    # What the detector itself computes of the same image.
    image = pixels(*size, batch=1)
    with torch.no_grad():
        expected = model.extract_feat(prepared(model, image))
    found = session.run(None, {'image': image.numpy()})
    for ours, theirs in zip(found, expected, strict=True):
        assert (torch.from_numpy(ours) - theirs).abs().max() < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_a_whole_segmentor_equals_its_prediction(segmentor, mode, tmp_path: Path) -> None:
    (model, normalisation), size = segmentor, (50, 75)
    if mode == 'slide':
        cfg = segmentor_config()
        cfg.model.test_cfg = ConfigDict(mode='slide', crop_size=(64, 64), stride=(40, 40))
        model = build(cfg)
    image = pixels(*size, batch=1)
    part, names = make_part(model, 'segmentation', 'whole', size, normalisation, labels=False)
    assert names == ['scores']
    session = save(part, names, size, tmp_path / 'scores.onnx', batch=1)
    (scores,) = session.run(None, {'image': image.numpy()})
    theirs = predict(model, image).seg_logits.data
    assert scores.shape == (1, 150, *size)
    assert (torch.from_numpy(scores[0]) - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert compare_onnx(session, part, image).relative < 1e-4


def test_labels_of_any_number_of_images(segmentor, tmp_path: Path) -> None:
    model, normalisation = segmentor
    part, names = make_part(model, 'segmentation', 'whole', (64, 64), normalisation)
    assert names == ['labels']
    session = save(part, names, (64, 64), tmp_path / 'labels.onnx')
    images = pixels(64, 64, batch=3)
    (labels,) = session.run(None, {'image': images.numpy()})
    for ours, image in zip(labels, images, strict=True):
        expected = predict(model, image[None]).pred_sem_seg.data[0]
        assert len(expected.unique()) > 1
        assert (torch.from_numpy(ours) == expected).float().mean() >= 0.999
    assert compare_labels(session, part, images) >= 0.999
    part.normalisation = nn.Identity()
    assert compare_labels(session, part, images) < 0.999


def test_normalised_input_and_order_of_channels(detector) -> None:
    model, plain = detector
    swapped = make_normalisation(model, [dict(type='lightvit_dense.LoadImage', color='rgb')])
    image = pixels(4, 4)
    assert torch.equal(plain(image)[:, 0], (image[:, 0] - 123.675) / 58.395)
    # A model that turns RGB around takes BGR.
    assert torch.equal(swapped(image)[:, 0], (image[:, 2] - 123.675) / 58.395)
    part, _ = make_part(model, 'detection', 'backbone+neck', (64, 64))
    assert torch.equal(part.normalisation(image), image)


@pytest.mark.parametrize(('length', 'cells'), [(16, 3), (7, 6), (5, 5), (3, 6), (1, 2)])
def test_pooling_is_torchs(length: int, cells: int) -> None:
    maps = torch.randn(2, 3, length, 11)
    expected = nn.AdaptiveAvgPool2d((cells, 4))(maps)
    torch.testing.assert_close(FixedAdaptivePool((cells, 4))(maps), expected)
    assert pooling_matrix(length, cells).sum(1) == pytest.approx([1] * cells)


def test_only_copies_are_changed() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.AdaptiveAvgPool2d((2, 3))))
    copy = with_fixed_pools(model)
    assert type(copy[0]) is nn.AdaptiveAvgPool2d
    assert copy[1][0].cells == (2, 3)
    assert type(model[1][0]) is nn.AdaptiveAvgPool2d


class Named(nn.Module):
    data_preprocessor = nn.Identity()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {'logits': images}


def test_what_cannot_be_exported_is_said(detector, tmp_path: Path, monkeypatch) -> None:
    images, named, pool = torch.randn(1, 3, 7, 7), Named().eval(), nn.AdaptiveAvgPool2d(3).eval()

    def export(model: nn.Module) -> None:
        export_onnx(model, tmp_path / 'model.onnx', images)

    def part(name: str, size: tuple[int, int] = (64, 64)) -> None:
        make_part(detector[0], 'detection', name, size)

    for call, message in (
        (lambda: part('whole'), r'non-maximum suppression, .* Ask for the part backbone'),
        (lambda: part('backbone+neck', (65, 70)), '65x70 px .* to 96x96 px .* --shape 96 96'),
        (lambda: make_part(named, 'classification', 'backbone+neck', (32, 32)), 'has no neck'),
        (lambda: part('head'), "part 'head' is unknown"),
        (lambda: make_normalisation(named, []), 'Identity has no mean and std'),
        (lambda: export(pool), r'AdaptiveAvgPool2d cannot be written as ONNX 17: .*not'),
        (lambda: export(nn.Conv2d(3, 3, 1)), 'evaluation mode'),
        (lambda: export(named), 'this one a dict'),
        (lambda: onnx_session(tmp_path / 'absent.onnx'), 'absent.onnx: no such ONNX file'),
    ):
        with pytest.raises((UserError, ValueError), match=message):
            call()
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(UserError, match=r'onnx is not installed.*pip install onnx onnxruntime'):
        export(nn.Identity().eval())
