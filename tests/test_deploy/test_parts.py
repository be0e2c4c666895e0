"""Parts of detectors and segmentors as ONNX files."""

from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

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
from tests.helpers.small_dense import build, detector_config, segmentor_config


def pixels(*size: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, *size), generator=generator).float()


def save(
    part: nn.Module, names: list[str], size: tuple[int, int], path: Path, dynamic: bool = True
):
    images = pixels(*size, batch=2 if dynamic else 1)
    export_onnx(part, path, images, names, dynamic_batch=dynamic)
    return onnx_session(path, threads=1)


def predict(model, image: torch.Tensor):
    """Segment an image as testing does, from BGR bytes, and keep the scores."""
    data = dict(inputs=[image[0].flip(0).byte()], data_samples=None)
    model.keep_scores = True
    with torch.no_grad():
        (sample,) = model.predict(model.data_preprocessor(data, False)['inputs'])
    return sample


@pytest.fixture(scope='module')
def detector():
    model = build(detector_config())
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name:
            nn.init.normal_(parameter)  # zeros would hide what is wrong with them
    return model


@pytest.fixture(scope='module')
def segmentor():
    return build(segmentor_config())


@pytest.mark.parametrize('size', [(64, 64), (96, 160)])
def test_windows_and_relative_positions_at_any_size(detector, size, tmp_path: Path) -> None:
    pipeline = detector_config().test_dataloader.dataset.pipeline
    part, names = make_part(
        detector, 'detection', 'backbone+neck', size, make_normalisation(detector, pipeline)
    )
    session = save(part, names, size, tmp_path / 'model.onnx')
    assert [out.name for out in session.get_outputs()] == ['map0', 'map1', 'map2', 'map3']
    for batch in (1, 3):
        assert compare_onnx(session, part, pixels(*size, batch=batch)).relative < 1e-5
    # What the detector itself computes of the same image, BGR bytes.
    image = pixels(*size, batch=1)
    data = dict(inputs=[image[0].flip(0).byte()], data_samples=None)
    with torch.no_grad():
        expected = detector.extract_feat(detector.data_preprocessor(data, False)['inputs'])
    found = session.run(None, {'image': image.numpy()})
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (torch.from_numpy(ours) - theirs).abs().max() < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_a_whole_segmentor_equals_its_prediction(segmentor, mode, tmp_path: Path) -> None:
    cfg, size = segmentor_config(), (50, 75)
    if mode == 'slide':
        cfg.model.test_cfg = ConfigDict(mode='slide', crop_size=(64, 64), stride=(40, 40))
        segmentor = build(cfg)
    normalisation = make_normalisation(segmentor, cfg.test_dataloader.dataset.pipeline)
    image = pixels(*size, batch=1)
    sample = predict(segmentor, image)
    part, names = make_part(segmentor, 'segmentation', 'whole', size, normalisation, labels=False)
    assert names == ['scores']
    session = save(part, names, size, tmp_path / 'scores.onnx', dynamic=False)
    (scores,) = session.run(None, {'image': image.numpy()})
    theirs = sample.seg_logits.data
    assert scores.shape == (1, 150, *size)
    assert (torch.from_numpy(scores[0]) - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert compare_onnx(session, part, image).relative < 1e-4


def test_labels_of_any_number_of_images(segmentor, tmp_path: Path) -> None:
    normalisation = make_normalisation(
        segmentor, segmentor_config().test_dataloader.dataset.pipeline
    )
    part, names = make_part(segmentor, 'segmentation', 'whole', (64, 64), normalisation)
    assert names == ['labels']
    session = save(part, names, (64, 64), tmp_path / 'labels.onnx')
    images = pixels(64, 64, batch=3)
    (labels,) = session.run(None, {'image': images.numpy()})
    for ours, image in zip(labels, images, strict=True):
        expected = predict(segmentor, image[None]).pred_sem_seg.data[0]
        assert len(expected.unique()) > 1
        assert (torch.from_numpy(ours) == expected).float().mean() >= 0.999
    assert compare_labels(session, part, images) >= 0.999
    part.normalisation = nn.Identity()
    assert compare_labels(session, part, images) < 0.999


def test_normalised_input_and_order_of_channels(detector) -> None:
    pipeline = [dict(type='lightvit_dense.LoadImage', color='rgb')]
    swapped = make_normalisation(detector, pipeline)
    image = pixels(4, 4)
    plain = make_normalisation(detector, detector_config().test_dataloader.dataset.pipeline)
    assert torch.equal(plain(image)[:, 0], (image[:, 0] - 123.675) / 58.395)
    # A model that turns RGB around takes BGR.
    assert torch.equal(swapped(image)[:, 0], (image[:, 2] - 123.675) / 58.395)
    part, _ = make_part(detector, 'detection', 'backbone+neck', (64, 64))
    assert torch.equal(part.normalisation(image), image)

    class Bare:
        data_preprocessor = nn.Identity()

    with pytest.raises(UserError, match='Identity has no mean and std'):
        make_normalisation(Bare(), pipeline)


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


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    path = export_onnx(model, tmp_path / 'model.onnx', torch.randn(2, 3, 2, 2))
    add_metadata(path, dict(task='none', classes='["a"]'))
    session = onnx_session(path)
    assert session.get_modelmeta().custom_metadata_map == dict(task='none', classes='["a"]')
    assert compare_onnx(session, model, torch.randn(1, 3, 2, 2)).relative < 1e-5


def test_what_cannot_be_exported_is_said(detector, segmentor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'non-maximum suppression, .* Ask for the part backbone'):
        make_part(detector, 'detection', 'whole', (64, 64))
    with pytest.raises(UserError, match=r'65x70 px are padded to 96x96 px .* --shape 96 96'):
        make_part(detector, 'detection', 'backbone+neck', (65, 70))
    with pytest.raises(UserError, match='a classifier has no neck'):
        make_part(nn.Identity(), 'classification', 'backbone+neck', (32, 32))
    with pytest.raises(UserError, match="part 'head' is unknown"):
        make_part(detector, 'detection', 'head', (64, 64))
    pool = nn.AdaptiveAvgPool2d(3).eval()
    with pytest.raises(UserError, match=r'AdaptiveAvgPool2d cannot be written as ONNX 17: .*not'):
        export_onnx(pool, tmp_path / 'pool.onnx', torch.randn(1, 3, 7, 7))
