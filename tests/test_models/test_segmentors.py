"""UperNet and Semantic FPN: padding changes nothing, any size goes, every parameter learns."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from torch import nn
from torch.nn import functional as F

from lightvit_dense.errors import UserError
from lightvit_dense.models.segmentors.labels import label_map
from lightvit_dense.registry import MODELS
from tests.helpers.models import silent

MEAN_STD = dict(mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True)
CASES = [('upernet', 'vit'), ('upernet', 'hiera'), ('semfpn', 'vit'), ('semfpn', 'hiera')]


def segment(model, batch) -> list[torch.Tensor]:
    with torch.no_grad():
        return [sample.seg_logits.data for sample in model.eval().test_step(batch)]


def losses(model, batch) -> dict[str, torch.Tensor]:
    return model.train()(**model.data_preprocessor(batch, True), mode='loss')


@pytest.mark.parametrize('mode', ['slide', 'whole'])
@pytest.mark.parametrize(('head', 'kind'), CASES)
def test_padding_changes_no_score(build_segmentor, segmentation_batch, head, kind, mode) -> None:
    model = build_segmentor(head, kind, mode)
    alone = segment(model, segmentation_batch([(50, 90)]))[0]
    assert alone.shape == (5, 50, 90)
    assert alone.std() > 0.01
    batch = segmentation_batch([(50, 90), (64, 100), (33, 128)])
    with torch.no_grad():
        among = model.test_step(batch)
    torch.testing.assert_close(among[0].seg_logits.data, alone, rtol=0, atol=1e-5)
    assert [tuple(x.pred_sem_seg.shape) for x in among] == [(50, 90), (64, 100), (33, 128)]
    config = dict(type='mmseg.SegDataPreProcessor', test_cfg=dict(size=(200, 300)), **MEAN_STD)
    model.data_preprocessor = MODELS.build(config)
    assert torch.equal(segment(model, segmentation_batch([(50, 90)]))[0], alone)
    # The padding belonged to the network: without a pad_shape of its own the image would differ.
    inputs = model.data_preprocessor(segmentation_batch([(50, 90)]))['inputs']
    assert inputs.shape == (1, 3, 200, 300)
    with torch.no_grad():
        larger = model.encode_decode(inputs[:, :, :192, :288], [{}])[0, :, :50, :90]
    assert not torch.allclose(larger, alone, atol=1e-5)


@pytest.mark.parametrize(('head', 'kind'), CASES)
def test_padding_changes_no_loss_and_every_parameter_learns(
    build_segmentor, segmentation_batch, head: str, kind: str
) -> None:
    model = build_segmentor(head, kind)
    sizes = [(50, 64), (33, 40)]
    expected = losses(model, segmentation_batch(sizes))
    model.data_preprocessor.size, model.data_preprocessor.size_divisor = (160, 160), None
    found = losses(model, segmentation_batch(sizes))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    model.parse_losses(found)[0].backward()
    assert silent(model) == []


@pytest.mark.parametrize('mode', ['slide', 'whole'])
@pytest.mark.parametrize('size', [(1, 1), (2, 65), (64, 3), (7, 300)])
def test_any_size_is_segmented(build_segmentor, segmentation_batch, size: tuple, mode: str):
    for head in ('upernet', 'semfpn'):
        scores = segment(build_segmentor(head, 'vit', mode), segmentation_batch([size]))[0]
        assert scores.shape == (5, *size)
        assert scores.isfinite().all()


@pytest.mark.parametrize('size', [(64, 64), (100, 130), (65, 200)])
@pytest.mark.parametrize('head', ['upernet', 'semfpn'])
def test_slide_is_mmsegs_where_windows_fit(build_segmentor, head: str, size: tuple) -> None:
    model = build_segmentor(head).eval()
    rival = build_segmentor(head, changes={'type': 'mmseg.EncoderDecoder'}).eval()
    assert type(rival) is MMSegEncoderDecoder
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        found, expected = model.predict(image), rival.predict(image)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data)
        assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)


def test_a_small_image_is_one_window_filled_up(build_segmentor) -> None:
    model = build_segmentor('upernet').eval()
    image = torch.randn(2, 3, 20, 50)
    with torch.no_grad():
        window = F.pad(image, (0, 14, 0, 44))
        expected = F.interpolate(model._forward(window), (64, 64), mode='bilinear')[:, :, :20, :50]
        found = torch.stack([sample.seg_logits.data for sample in model.predict(image)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_scores_come_back_at_the_original_size(build_segmentor, segmentation_batch) -> None:
    model = build_segmentor('semfpn').eval()
    own = segment(model, segmentation_batch([(50, 60)]))[0]
    batch = segmentation_batch([(50, 60)])
    batch['data_samples'][0].set_metainfo(dict(ori_shape=(25, 120)))
    with torch.no_grad():
        found = model.test_step(batch)[0]
    expected = F.interpolate(own[None], (25, 120), mode='bilinear')[0]
    torch.testing.assert_close(found.seg_logits.data, expected, rtol=0, atol=1e-5)
    assert torch.equal(found.pred_sem_seg.data[0], expected.argmax(0))


@pytest.mark.parametrize('average', [False, True], ids=['all pixels', 'labelled pixels'])
def test_images_without_a_label_cost_nothing(build_segmentor, segmentation_batch, average: bool):
    model = build_segmentor('upernet', changes={'decode_head.loss_decode.avg_non_ignore': average})
    batch = segmentation_batch([(64, 64), (40, 64)])
    for sample in batch['data_samples']:
        sample.gt_sem_seg = PixelData(data=torch.full_like(sample.gt_sem_seg.data, 255))
    total, values = model.parse_losses(losses(model, batch))
    assert values['decode.loss_ce'] == values['aux.loss_ce'] == total == 0
    assert values['decode.acc_seg'].isfinite()
    total.backward()
    assert all(not parameter.grad.any() for parameter in model.parameters())


def test_padding_is_ignored_in_the_truth(build_segmentor, segmentation_batch) -> None:
    """The loss is that of the labelled pixels alone, over all padded pixels as in mmseg."""
    model = build_segmentor('semfpn')
    batch = model.data_preprocessor(segmentation_batch([(30, 40)] * 2), True)
    truth = torch.stack([sample.gt_sem_seg.data[0, :30, :40] for sample in batch['data_samples']])
    model.train()
    images = F.pad(batch['inputs'][:, :, :30, :40], (0, 24, 0, 34))
    scores = F.interpolate(model._forward(images), (64, 64), mode='bilinear')[:, :, :30, :40]
    expected = F.cross_entropy(scores, truth, reduction='sum') / (2 * 64 * 64)
    torch.testing.assert_close(model.loss(**batch)['decode.loss_ce'], expected)
    assert batch['data_samples'][0].gt_sem_seg.shape == (64, 64)


ONE = {'decode_head.num_classes': 2, 'decode_head.out_channels': 1}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'decode_head.num_classes': 1}, r'model\.decode_head: tells nothing .*num_classes=2'),
        ({'auxiliary_head.num_classes': 1}, r'model\.auxiliary_head: tells nothing apart'),
        (ONE, r'model\.decode_head: tells nothing apart'),
        ({'test_cfg.mode': 'slid'}, "'slide' or 'whole', got 'slid'"),
        ({'test_cfg.crop_size': None}, 'needs test_cfg.crop_size'),
        ({'test_cfg.crop_size': (60, 64)}, r'crop_size=\(60, 64\): .*multiples of 32'),
        ({'test_cfg.stride': (65, 40)}, 'would leave pixels out'),
        ({'test_cfg.stride': (0, 40)}, 'would leave pixels out'),
        ({'pad_shape': 33}, 'pad_shape=33'),
    ],
)
def test_options_are_checked(build_segmentor, changes: dict, message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        build_segmentor('upernet', changes=changes)


def test_least_pad_shape(build_segmentor) -> None:
    assert build_segmentor('semfpn').pad_shape == (64, 64)
    assert build_segmentor('semfpn', mode='whole').pad_shape == (0, 0)
    unsaid = build_segmentor('semfpn', changes={'test_cfg': {}}).eval()
    assert unsaid.predict(torch.randn(1, 3, 5, 7))[0].pred_sem_seg.shape == (5, 7)
    given = build_segmentor('semfpn', mode='whole', changes={'pad_shape': (96, 64)})
    assert given.pad_shape == (96, 64)


def test_one_image_is_too_few_for_batch_norm_of_one_pixel(build_segmentor, segmentation_batch):
    model = build_segmentor('upernet')
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    with pytest.raises(UserError, match='at least 2 images'):
        losses(model, segmentation_batch([(64, 64)]))


def test_preprocessor_is_mmsegs_but_for_sizes(segmentation_batch) -> None:
    """The same normalisation, and no samples are needed; nothing pads by a test_cfg."""
    config = dict(type='lightvit_dense.SegmentationPreprocessor', size_divisor=32, **MEAN_STD)
    ours = MODELS.build(config)
    theirs = MODELS.build(dict(config, type='mmseg.SegDataPreProcessor'))
    for training in (True, False):
        found = ours(segmentation_batch([(40, 50)] * 2), training)
        expected = theirs(segmentation_batch([(40, 50)] * 2), training)
        assert torch.equal(found['inputs'], expected['inputs'])
        truths = [sample.gt_sem_seg.data for sample in found['data_samples']]
        assert torch.equal(truths[0], expected['data_samples'][0].gt_sem_seg.data)
    images = segmentation_batch([(40, 50), (60, 30)])['inputs']
    found = ours(dict(inputs=images))
    assert found['inputs'].shape == (2, 3, 60, 50)
    assert [sample.img_shape for sample in found['data_samples']] == [(40, 50), (60, 30)]
    assert not found['inputs'][0, :, 40:].any()
    with pytest.raises(ValueError, match='there is no test_cfg'):
        MODELS.build(dict(config, test_cfg=dict(size_divisor=32)))


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize(
    ('size', 'target'),
    [((12, 20), (97, 130)), ((12, 20), (12, 20)), ((40, 30), (7, 11)), ((1, 1), (5, 3)),
     ((9, 4), (1, 1))],
)  # fmt: skip
def test_labels_are_those_of_whole_scores(size: tuple, target: tuple, align: bool) -> None:
    scores = torch.randn(6, *size)
    expected = F.interpolate(scores[None], target, mode='bilinear', align_corners=align).argmax(1)
    for numbers in (1, 6 * target[1] * 3, 10**9):
        found = label_map(scores, target, align, numbers=numbers)
        assert found.shape == (1, *target)
        assert torch.equal(found, expected)


@pytest.mark.parametrize('kept', [True, False])
def test_scores_that_are_no_numbers_are_refused(build_segmentor, segmentation_batch, kept) -> None:
    model = build_segmentor('semfpn', changes={'keep_scores': kept}).eval()
    torch.nn.init.constant_(model.decode_head.conv_seg.bias, torch.nan)
    batch = segmentation_batch([(64, 64)])
    batch['data_samples'][0].set_metainfo(dict(img_path='a.jpg'))
    with pytest.raises(UserError, match=r'a\.jpg: the predicted scores are NaN or infinite'):
        model.test_step(batch)


@pytest.mark.parametrize('flip', [None, 'horizontal', 'vertical'])
def test_predictions_without_scores_are_the_same(build_segmentor, segmentation_batch, flip) -> None:
    model = build_segmentor('semfpn').eval()
    batch = segmentation_batch([(50, 60), (64, 100)])
    batch['data_samples'][1].set_metainfo(
        dict(ori_shape=(80, 201), flip=flip is not None, flip_direction=flip)
    )
    with torch.no_grad():
        expected = model.test_step(batch)
        model.keep_scores = False
        found = model.test_step(batch)
    for ours, theirs in zip(found, expected, strict=True):
        assert 'seg_logits' in theirs
        assert 'seg_logits' not in ours
        assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)
    assert found[1].pred_sem_seg.shape == (80, 201)
