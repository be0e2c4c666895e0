import json

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData
from PIL import Image

from lightvit_dense.errors import UserError
from lightvit_dense.evaluation.confusion import (
    Confusion,
    count_confusion,
    match_objects,
    write_confusion,
)
from lightvit_dense.evaluation.predictions import match_images


def boxes(*rows):
    return np.array(rows, dtype=float).reshape(-1, 4)


TRUTH = boxes((0, 0, 10, 10), (20, 0, 30, 10)), np.array([0, 1])


def found(rows, labels, scores):
    return boxes(*rows), np.array(labels, dtype=int), np.array(scores, dtype=float)


@pytest.mark.parametrize(
    ('detections', 'pairs'),
    [
        # Both found, one under a wrong name.
        (found([(0, 0, 10, 10), (20, 0, 30, 9)], [0, 2], [0.9, 0.8]), [(0, 0), (1, 2)]),
        # Nothing found: both missed.
        (found([], [], []), [(0, -1), (1, -1)]),
        # A second detection of the same object is one of nothing; the better score is first.
        (found([(0, 0, 10, 10), (0, 0, 10, 9)], [2, 0], [0.4, 0.7]), [(0, 0), (-1, 2), (1, -1)]),
        # IoU of just a half counts, of a little less does not.
        (found([(0, 0, 10, 5), (20, 0, 30, 4.9)], [0, 1], [0.9, 0.8]), [(0, 0), (-1, 1), (1, -1)]),
        # One detection over both objects takes the one it fits better, by area.
        (found([(-2, 0, 12, 10)], [1], [0.9]), [(0, 1), (1, -1)]),
    ],
)
def test_match_by_hand(detections, pairs):
    assert match_objects(TRUTH, boxes(), detections, 0.5) == pairs


def test_detections_within_a_crowd_are_dropped():
    crowd = boxes((40, 0, 80, 40))
    inside = found([(45, 5, 55, 15), (35, 5, 45, 15), (33, 5, 43, 15)], [0, 0, 0], [0.9, 0.8, 0.7])
    # The second lies half within, the third less.
    assert match_objects((boxes(), np.zeros(0, int)), crowd, inside, 0.5) == [(-1, 0)]


class Dataset:
    """Four images, as mmdet's and mmseg's data sets show them."""

    metainfo = dict(classes=('cat', 'dog'), palette=[(0, 0, 0), (9, 9, 9)])
    ignore_index = 255
    paths = tuple(f'data/images/{i}.jpg' for i in range(4))

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        one = dict(bbox=[0, 0, 10, 10], bbox_label=index % 2, ignore_flag=0)
        return dict(img_path=self.paths[index], instances=[one] if index < 3 else [])

    def __getitem__(self, index):
        ids = torch.full((1, 2, 3), index % 2)
        ids[0, 0, 0] = 255
        return dict(data_samples=BaseDataElement(gt_sem_seg=PixelData(data=ids)))


def instances(label, score=0.9):
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    return dict(bboxes=box, labels=torch.tensor([label]), scores=torch.tensor([score]))


def test_confusion_of_detections_label_maps_and_images():
    dataset = Dataset()
    # Out of order: 0 right, 1 taken for a cat, 2 not certain enough, 3 detects nothing that is.
    entries = [(3, instances(1)), (0, instances(0)), (1, instances(0)), (2, instances(0, 0.2))]
    predictions = [dict(img_path=dataset.paths[i], pred_instances=p) for i, p in entries]
    counted = count_confusion(dataset, predictions, 0.3, 0.5)
    assert (counted.names, counted.unit) == (('cat', 'dog', 'background'), 'objects')
    assert counted.counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    ids = dict(data=torch.zeros(1, 2, 3, dtype=torch.uint8))
    predictions = [dict(img_path=path, pred_sem_seg=ids) for path in Dataset.paths]
    counted = count_confusion(dataset, predictions, 0.3, 0.5)
    assert (counted.counts.tolist(), counted.unit) == ([[10, 0], [10, 0]], 'pixels')
    pairs = [(0, 0), (1, 0), (1, 0), (1, 1)]
    predictions = [dict(gt_label=t, pred_label=torch.tensor(p)) for t, p in pairs]
    counted = count_confusion(Dataset(), predictions, 0.3, 0.5)
    assert (counted.counts.tolist(), counted.unit) == ([[1, 0], [2, 1]], 'images')
    with pytest.raises(UserError, match='label maps nor classes, but img_path, x'):
        count_confusion(Dataset(), [dict(img_path='a', x=1)], 0.3, 0.5)


def test_images_are_paired_by_their_paths():
    dataset = Dataset()
    moved = [dict(img_path=f'/elsewhere/images/{i}.jpg') for i in (2, 0)]
    assert match_images(dataset, moved) == [2, 0]
    for predictions, message in (
        ([dict(img_path='data/images/7.jpg')], r'images/7\.jpg: was predicted, .* among the 4'),
        ([moved[0], moved[0]], 'twice'),
        ([dict(img_id=1)], "'img_path'"),
    ):
        with pytest.raises(UserError, match=message):
            match_images(dataset, predictions)


COUNTS = Confusion(np.array([[5, 3, 0], [1, 0, 0], [0, 0, 0]]), ('a', 'b', 'c'), 'pixels')


def test_ratios_and_worst():
    ratios = COUNTS.ratios()
    assert ratios[:2].tolist() == [[0.625, 0.375, 0], [1, 0, 0]]
    assert np.isnan(ratios[2]).all()
    assert COUNTS.occurring().names == ('a', 'b')
    assert COUNTS.worst(5) == [
        dict(truth='a', prediction='b', count=3, ratio=0.375),
        dict(truth='b', prediction='a', count=1, ratio=1.0),
    ]


@pytest.mark.parametrize('normalize', [False, True])
def test_files(tmp_path, normalize):
    files = write_confusion(COUNTS, tmp_path / 'out', normalize, 'title', config='x.py')
    assert [path.name for path in files] == ['confusion.png', 'confusion.csv', 'confusion.json']
    assert min(Image.open(files[0]).size) > 500
    rows = files[1].read_text().splitlines()
    assert rows[1] == ('a,0.625,0.375' if normalize else 'a,5,3')
    content = json.loads(files[2].read_text())
    assert content['counts'] == COUNTS.counts.tolist()
    assert (content['config'], content['classes']) == ('x.py', ['a', 'b', 'c'])
