"""Truth and prediction of a sample."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from lightvit_dense.visualization import class_color, draw_objects, draw_sample

NAMES = ('wall', 'sky', 'a very long name')
PALETTE = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def objects(scores=(0.9, 0.2)):
    found = InstanceData(
        bboxes=torch.tensor([[2.0, 3.0, 12.0, 13.0], [15.0, 5.0, 28.0, 18.0]]),
        labels=torch.tensor([0, 2]),
        masks=torch.zeros(2, 20, 30, dtype=torch.bool),
    )
    found.masks[0, 3:13, 2:12] = True
    if scores:
        found.scores = torch.tensor(scores)
    return found


@pytest.mark.parametrize(
    ('scores', 'options', 'labels'),
    [
        ((0.9, 0.2), {}, [2, 0]),  # the best last, on top
        ((0.9, 0.2), dict(threshold=0.3), [0]),
        ((0.9, 0.2), dict(limit=1), [0]),
        ((), {}, [0, 2]),
    ],
)
def test_objects_are_filtered_and_sorted(scores, options, labels):
    image = np.zeros((20, 30, 3), np.uint8)
    picture, found = draw_objects(image, objects(scores), NAMES, scale=8, **options)
    assert found == labels
    assert (picture[8 * 13 - 1, 16:96] == class_color(0)).all()
    other = (picture[8 * 18 - 1, 120:224] == class_color(2)).all()
    assert other == (2 in labels)


def test_run_lengths_and_mmdets_masks_are_drawn_alike():
    from mmdet.structures.mask import BitmapMasks
    from pycocotools import mask as coco_mask

    image, plain = np.zeros((20, 30, 3), np.uint8), objects()
    array = plain.masks.numpy().astype(np.uint8)
    runs = [coco_mask.encode(np.asfortranarray(mask)) for mask in array]
    expected, _ = draw_objects(image, plain, NAMES, scale=8)
    assert (expected[64, 64] == np.round(0.5 * np.array(class_color(0)))).all()
    for masks in (runs, BitmapMasks(array, 20, 30)):
        found = dict(bboxes=plain.bboxes, labels=plain.labels, scores=plain.scores, masks=masks)
        assert (draw_objects(image, found, NAMES, scale=8)[0] == expected).all()


def test_truth_is_left_and_prediction_right():
    image = np.zeros((20, 30, 3), np.uint8)
    sample = BaseDataElement(gt_instances=objects(scores=()), pred_instances=objects())
    picture = draw_sample(image, sample, NAMES, threshold=0.3)
    assert picture.shape[1] == 2 * 480 + 4  # small images are enlarged
    left, right = picture[:340, :480], picture[:340, 484:]
    drawn = [(half == class_color(2)).all(-1).any() for half in (left, right)]
    assert drawn == [True, False]  # too low a score


def test_label_maps_of_another_size_are_fitted():
    image = np.zeros((20, 30, 3), np.uint8)
    field = [
        PixelData(data=torch.ones(1, *size, dtype=torch.int64)) for size in ((40, 60), (20, 30))
    ]
    sample = BaseDataElement(gt_sem_seg=field[0], pred_sem_seg=field[1])
    picture = draw_sample(image, sample, NAMES, PALETTE)
    half = picture.shape[1] // 2
    assert (picture[60, 10] == (0, 100, 0)).all()
    assert (picture[60, half + 12] == (0, 100, 0)).all()


def test_classes_are_written_above():
    sample = BaseDataElement(pred_score=torch.tensor([0.1, 0.7, 0.2]), gt_label=2)
    picture = draw_sample(np.zeros((320, 320, 3), np.uint8), sample, NAMES)
    assert picture.shape[0] > 350
    assert (picture[-320:] == 0).all()
