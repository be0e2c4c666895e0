"""Labels made strip by strip are those of scores resized whole."""

import pytest
import torch
from torch.nn import functional as F

from lightvit_dense.models.segmentors.labels import label_map


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize(
    ('size', 'target'),
    [((12, 20), (97, 130)), ((12, 20), (12, 20)), ((40, 30), (7, 11)), ((1, 1), (5, 3)),
     ((9, 4), (1, 1))],
)  # fmt: skip
def test_labels_are_those_of_whole_scores(size: tuple, target: tuple, align: bool) -> None:
    scores = torch.randn(6, *size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(scores[None], target, mode='bilinear', align_corners=align).argmax(1)
    for numbers in (1, 6 * target[1] * 3, 10**9):
        found = label_map(scores, target, align, numbers=numbers)
        assert found.shape == (1, *target)
        assert torch.equal(found, expected)


def test_one_channel_has_a_threshold() -> None:
    scores = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(scores[None], (30, 20), mode='bilinear')[0]
    found = label_map(scores, (30, 20), threshold=0.3, numbers=50)
    assert torch.equal(found, (whole.sigmoid() > 0.3).float())
    assert 0 < found.mean() < 1


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
