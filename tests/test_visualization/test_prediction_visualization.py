from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement, PixelData

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.engine.hooks import prediction_visualization
from lightvit_dense.errors import UserError


class Dataset:
    metainfo = dict(classes=('wall', 'sky'), palette=[(200, 0, 0), (0, 0, 200)])

    def get_data_info(self, index):
        return {}


def paint(folder, samples, **kwargs):
    hook = HOOKS.build(
        dict(type='lightvit_dense.PredictionVisualizationHook', out_dir=str(folder), **kwargs)
    )
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=Dataset()))
    for start in range(0, len(samples), 2):
        hook.after_test_iter(SimpleNamespace(test_loop=loop), 0, outputs=samples[start : start + 2])
    return sorted(path.name for path in folder.glob('*'))


def sample(path, ids=1):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), 100, np.uint8))
    field = PixelData(data=torch.full((1, 20, 30), ids))
    return BaseDataElement(metainfo=dict(img_path=str(path)), pred_sem_seg=field)


def test_pictures_have_the_names_of_their_images(tmp_path):
    paths = [tmp_path / folder / f'{name}.jpg' for folder, name in ('ax', 'ay', 'bx')]
    names = paint(tmp_path / 'out', [sample(path) for path in paths])
    assert names == ['b_x.png', 'x.png', 'y.png']
    blue, _, red = cv2.imread(str(tmp_path / 'out' / 'x.png'))[300, 10]
    assert blue > red  # the colour of the sky, not mixed up with the wall's


@pytest.mark.parametrize(('rank', 'ranks', 'count'), [(0, 1, 3), (0, 2, 2), (1, 2, 1)])
def test_the_limit_is_one_for_all_processes(tmp_path, monkeypatch, rank, ranks, count):
    monkeypatch.setattr(prediction_visualization, 'get_rank', lambda: rank)
    monkeypatch.setattr(prediction_visualization, 'get_world_size', lambda: ranks)
    samples = [sample(tmp_path / 'a' / f'{i}.jpg') for i in range(5)]
    assert len(paint(tmp_path / 'out', samples, max_images=3)) == count


def test_what_cannot_be_drawn_is_named(tmp_path):
    strange = BaseDataElement(metainfo=dict(img_path='a.jpg'), pred=torch.zeros(1))
    with pytest.raises(UserError, match=r'--show-dir draws boxes.*results have.*pred'):
        paint(tmp_path / 'out', [strange])
    gone = sample(tmp_path / 'a' / 'x.jpg')
    (tmp_path / 'a' / 'x.jpg').unlink()
    with pytest.raises(DatasetError, match=r'x\.jpg: does not exist'):
        paint(tmp_path / 'out', [gone])
