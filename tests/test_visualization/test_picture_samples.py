"""Truth and prediction of a sample, and the hook that draws them."""

from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.engine.hooks import prediction_visualization
from lightvit_dense.errors import UserError
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


def test_truth_is_left_and_prediction_right():
    image = np.zeros((20, 30, 3), np.uint8)
    sample = BaseDataElement(gt_instances=objects(scores=()), pred_instances=objects())
    picture = draw_sample(image, sample, NAMES, threshold=0.3)
    assert picture.shape[1] == 2 * 480 + 4  # small images are enlarged
    left, right = picture[:340, :480], picture[:340, 484:]
    drawn = [(half == class_color(2)).all(-1).any() for half in (left, right)]
    assert drawn == [True, False]  # too low a score


def test_label_maps_of_another_size_are_fitted():
    ids = torch.ones(1, 40, 60, dtype=torch.int64)
    truth, found = PixelData(data=ids), PixelData(data=ids[:, :20, :30])
    sample = BaseDataElement(gt_sem_seg=truth, pred_sem_seg=found)
    picture = draw_sample(np.zeros((20, 30, 3), np.uint8), sample, NAMES, PALETTE)
    assert (picture[60, [10, picture.shape[1] // 2 + 12]] == (0, 100, 0)).all()
    # Classes are written above.
    sample = BaseDataElement(pred_score=torch.tensor([0.1, 0.7, 0.2]), gt_label=2)
    picture = draw_sample(np.zeros((320, 320, 3), np.uint8), sample, NAMES)
    assert picture.shape[0] > 350
    assert (picture[-320:] == 0).all()


def paint(folder, samples, data_prefix=None, **kwargs):
    hook = dict(type='lightvit_dense.PredictionVisualizationHook', out_dir=str(folder), **kwargs)
    hook = HOOKS.build(hook)
    dataset = Mock(metainfo=dict(classes=NAMES, palette=PALETTE), get_data_info=lambda index: {})
    dataset.data_prefix = data_prefix
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    runner = SimpleNamespace(test_loop=loop)
    hook.before_test(runner)
    for start in range(0, len(samples), 2):
        hook.after_test_iter(runner, 0, outputs=samples[start : start + 2])
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.png'))


def segmented(path):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), 100, np.uint8))
    field = PixelData(data=torch.full((1, 20, 30), 2))
    return BaseDataElement(metainfo=dict(img_path=str(path)), pred_sem_seg=field)


def test_pictures_have_the_names_of_their_images(tmp_path):
    paths = [tmp_path / folder / f'{name}.jpg' for folder, name in ('ax', 'ay', 'bx')]
    names = paint(tmp_path / 'out', [segmented(path) for path in paths])
    assert names == ['b_x.png', 'x.png', 'y.png']
    folder = dict(data_prefix=dict(img_path=f'{tmp_path}/'))
    paths = [tmp_path / name for name in ('a/x.jpg', 'b/x.jpg', 'b/x.png')]
    names = paint(tmp_path / 'deep', [segmented(path) for path in paths], **folder)
    assert names == ['a/x.png', 'b/x.png', 'b/x.png.png']
    blue, _, red = cv2.imread(str(tmp_path / 'out' / 'x.png'))[300, 10]
    assert blue > red  # the channels are in order


@pytest.mark.parametrize(('rank', 'ranks', 'count'), [(0, 1, 3), (0, 2, 2), (1, 2, 1)])
def test_the_limit_is_one_for_all_processes(tmp_path, monkeypatch, rank, ranks, count):
    monkeypatch.setattr(prediction_visualization, 'get_rank', lambda: rank)
    monkeypatch.setattr(prediction_visualization, 'get_world_size', lambda: ranks)
    samples = [segmented(tmp_path / 'a' / f'{i}.jpg') for i in range(5)]
    assert len(paint(tmp_path / 'out', samples, max_images=3)) == count


def test_what_cannot_be_drawn_is_named(tmp_path):
    strange = BaseDataElement(metainfo=dict(img_path='a.jpg'), pred=torch.zeros(1))
    with pytest.raises(UserError, match=r'--show-dir draws boxes.*results have.*pred'):
        paint(tmp_path / 'out', [strange])
    gone = segmented(tmp_path / 'a' / 'x.jpg')
    (tmp_path / 'a' / 'x.jpg').unlink()
    with pytest.raises(DatasetError, match=r'x\.jpg: does not exist'):
        paint(tmp_path / 'out', [gone])
