import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from lightvit_dense.visualization.eval_pictures import (
    draw_labels,
    draw_sample,
    enlargement,
    legend,
    side_by_side,
    titled,
    to_instances,
)
from lightvit_dense.visualization.pictures import class_color

NAMES = ('wall', 'sky', 'a very long name')
PALETTE = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def test_labels_are_painted_in_the_palette():
    image = np.full((40, 60, 3), 100, np.uint8)
    ids = np.zeros((40, 60), np.int64)
    ids[:, 30:] = 1
    ids[:10, :10] = 255
    painted = draw_labels(image, ids, NAMES, PALETTE, alpha=0.5)
    assert painted[35, 5].tolist() == [150, 50, 50]
    assert painted[35, 55].tolist() == [50, 150, 50]
    assert painted[5, 5].tolist() == [100, 100, 100]  # ignored: as it was
    assert painted[35, 30].tolist() == [255, 255, 255]  # the outline
    assert draw_labels(image, ids, NAMES, PALETTE, scale=2).shape == (80, 120, 3)
    assert (image == 100).all()


def test_names_are_written_where_there_is_room():
    image = np.zeros((120, 120, 3), np.uint8)
    ids = np.full((120, 120), 2)
    ids[:3, :3] = 1  # no room
    painted = draw_labels(image, ids, NAMES, PALETTE, alpha=1.0)
    text = (painted == 255).all(-1)
    text[3, :4] = text[:4, 3] = False  # the outline
    rows, columns = np.nonzero(text)
    assert 45 < rows.mean() < 75
    assert 45 < columns.mean() < 75
    assert rows.min() > 30  # nothing at the small region


def test_legend_breaks_lines():
    entries = [(name, color) for name, color in zip(NAMES, PALETTE, strict=True)]
    wide, narrow = legend(entries, 400), legend(entries, 90)
    assert wide.shape[1] == 400
    assert narrow.shape[0] == 3 * wide.shape[0] - 2 * 3
    for color in PALETTE:
        assert (wide == color).all(-1).sum() > 80
    assert legend([], 100).shape[0] == 0


def test_side_by_side_and_titles():
    one, other = np.full((30, 50, 3), 10, np.uint8), np.full((30, 50, 3), 20, np.uint8)
    row = side_by_side({'truth': one, 'prediction': other}, [('wall', (1, 2, 3))])
    assert row.shape[1] == 104
    bar = titled(one, '').shape[0] - 30
    assert (row[bar : bar + 30, :50] == 10).all()
    assert (row[bar : bar + 30, 54:] == 20).all()
    assert (row[:bar, :50] < 100).any()  # the title


def objects(scores=(0.9, 0.2), masks=True):
    found = InstanceData(
        bboxes=torch.tensor([[2.0, 3.0, 12.0, 13.0], [15.0, 5.0, 28.0, 18.0]]),
        labels=torch.tensor([0, 2]),
    )
    if scores:
        found.scores = torch.tensor(scores)
    if masks:
        found.masks = torch.zeros(2, 20, 30, dtype=torch.bool)
        found.masks[0, 3:13, 2:12] = True
    return found


def test_instances():
    low, high = to_instances(objects(), NAMES)  # the best last, on top
    assert (high.label, high.bbox, high.class_id) == ('wall', (2, 3, 10, 10), 0)
    assert high.score == pytest.approx(0.9)
    assert high.mask.sum() == 100
    assert low.label == 'a very long name'
    assert [one.label for one in to_instances(objects(), NAMES, threshold=0.3)] == ['wall']
    assert [one.label for one in to_instances(objects(), NAMES, limit=1)] == ['wall']
    assert len(to_instances(objects(scores=()), NAMES)) == 2


def test_truth_is_left_and_prediction_right():
    image = np.zeros((20, 30, 3), np.uint8)
    sample = BaseDataElement(gt_instances=objects(scores=()), pred_instances=objects())
    picture = draw_sample(image, sample, NAMES, threshold=0.3)
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    purple = np.array(class_color(2))
    drawn = [np.abs(half.astype(int) - purple).sum(-1).min() for half in (left, right)]
    assert drawn[0] == 0
    assert drawn[1] > 0  # too low a score
    scale = enlargement(20, 30)
    assert picture.shape[1] == 2 * 30 * scale + 4


def test_label_maps_of_another_size_are_fitted():
    image = np.zeros((20, 30, 3), np.uint8)
    field = [
        PixelData(data=torch.ones(1, *size, dtype=torch.int64)) for size in ((40, 60), (20, 30))
    ]
    sample = BaseDataElement(gt_sem_seg=field[0], pred_sem_seg=field[1])
    picture = draw_sample(image, sample, NAMES, PALETTE)
    half = picture.shape[1] // 2
    assert (picture[60, 10] == picture[60, half + 12]).all()


def test_classes_are_written_above():
    sample = BaseDataElement(pred_score=torch.tensor([0.1, 0.7, 0.2]), gt_label=2)
    image = np.zeros((320, 320, 3), np.uint8)
    picture = draw_sample(image, sample, NAMES)
    assert picture.shape[0] > 350
    assert (picture[-320:] == 0).all()
