"""Results of several models beside the truth."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from lightvit_dense.errors import UserError
from lightvit_dense.visualization import (
    class_color,
    detection_grid,
    label_map_grid,
    reconstruction_grid,
)

COLOR = np.array(class_color(7))


@pytest.fixture
def coco(tmp_path):
    """One black 40x60 image with a 10x8 square at (20, 12), and one image without objects."""
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
    size = dict(height=40, width=60)
    images = [dict(size, id=1, file_name='a.png'), dict(size, id=2, file_name='b.png')]
    square = dict(bbox=[20, 12, 10, 8], area=80, segmentation=[[20, 12, 30, 12, 30, 20, 20, 20]])
    annotations = [dict(square, id=1, image_id=1, category_id=7, iscrowd=0)]
    data = dict(images=images, annotations=annotations, categories=[dict(id=7, name='i')])
    (tmp_path / 'truth.json').write_text(json.dumps(data))
    return tmp_path / 'truth.json', tmp_path


def test_detections_stand_beside_the_truth(coco):
    folder = coco[1]
    mask = np.zeros((40, 60), np.uint8, order='F')
    mask[25:33, 30:50] = 1
    rle = coco_mask.encode(mask)
    rle['counts'] = rle['counts'].decode()
    record = {'image_id': 1, 'category_id': 7, 'score': 0.9}
    low = {**record, 'score': 0.2, 'bbox': [0, 0, 60, 40]}
    other = {**record, 'image_id': 2, 'bbox': [0, 0, 60, 40]}
    (folder / 'a.bbox.json').write_text('[]')
    (folder / 'a.segm.json').write_text(json.dumps([{**record, 'segmentation': rle}]))
    boxes = [{**record, 'bbox': [5, 22, 8, 10]}, low, other]
    (folder / 'b.bbox.json').write_text(json.dumps(boxes))
    drawn = detection_grid(*coco, [folder / 'a', folder / 'b'], width=240)
    assert drawn.shape == (160, 3 * 240 + 2 * 4, 3)
    truth, masks, boxes = drawn[:, :240], drawn[:, 244:484], drawn[:, 488:]
    # The edge has the full colour, the inside half of it over black, the outside none.
    assert (truth[79, 80:120] == COLOR).all()
    assert (truth[60, 100] == (0.5 * COLOR).round()).all()
    assert not truth[80:].any()
    assert not truth[50:, 121:].any()
    assert (masks[131, 120:200] == COLOR).all()  # the box of the mask
    assert (masks[110, 160] == (0.5 * COLOR).round()).all()
    assert (boxes[127, 20:52] == COLOR).all()
    assert not boxes[90:126, 22:50].any()
    assert not boxes[:, 120:].any()  # too low a score, and another image
    with pytest.raises(UserError, match=r'neither .*c\.segm\.json nor'):
        detection_grid(*coco, [folder / 'c'])
    (folder / 'a.png').unlink()
    with pytest.raises(UserError, match=r'a\.png: is missing'):
        detection_grid(*coco, [])
    coco[0].write_text(json.dumps({**json.loads(coco[0].read_text()), 'annotations': []}))
    with pytest.raises(UserError, match=r'truth\.json: no image shows an object'):
        detection_grid(*coco)


def test_label_maps_of_models_stand_beside_the_truth(tmp_path):
    for part in ('images/validation', 'annotations/validation', 'model'):
        (tmp_path / part).mkdir(parents=True)
    truth = np.ones((8, 8), np.uint8)
    truth[:4] = 0  # unlabelled
    for i in range(5):
        image = np.full((8, 8, 3), 4 * i, np.uint8)
        cv2.imwrite(str(tmp_path / f'images/validation/{i}.jpg'), image)
        cv2.imwrite(str(tmp_path / f'annotations/validation/{i}.png'), truth)
        cv2.imwrite(str(tmp_path / f'model/{i}.png'), np.full((8, 8), 2, np.uint8))
    colors, names = [(200, 0, 0), (0, 200, 0), (0, 0, 200)], ['wall', 'book', 'nowhere']
    drawn = label_map_grid(tmp_path, [tmp_path / 'model'], names, colors, count=2, width=16)
    assert drawn.shape[1] == 3 * 16 + 2 * 4
    image, truth, model = drawn[:16, :16], drawn[:16, 20:36], drawn[:16, 40:]
    assert not image.any()
    assert not truth[:8].any()
    assert (truth[8:] == (100, 0, 0)).all()
    assert (model == (0, 100, 0)).all()
    assert (drawn[20:36, :16] == 16).all()  # the last of the five
    shown = [bool((drawn[36:] == color).all(2).any()) for color in colors]  # in the legend
    assert shown == [True, True, False]
    with pytest.raises(FileNotFoundError, match=r'0\.png'):
        label_map_grid(tmp_path, [tmp_path / 'gone'], names, colors)


@pytest.mark.parametrize('bgr', [False, True])
def test_a_model_gets_centred_squares_in_its_order_and_the_same_noise(bgr):
    seen = []

    def preprocess(data, training):
        batch = torch.stack(data['inputs'])
        return {'inputs': batch[:, [2, 1, 0]] if bgr else batch}

    def reconstruct(batch, noise):
        seen.append(noise)
        return dict.fromkeys(('original', 'masked', 'reconstruction'), batch)

    backbone = SimpleNamespace(grid_size=(2, 2), patch_size=4)
    preprocess._channel_conversion = bgr
    model = Mock(backbone=backbone, data_preprocessor=preprocess, reconstruct=reconstruct)
    model.eval.return_value = model
    image = np.zeros((8, 20, 3), np.uint8)
    image[:, 6:14] = (10, 20, 30)  # the centre
    for _ in range(2):
        drawn = reconstruction_grid(model, [image], per_row=1, scale=2)
    assert drawn.shape == (16, 3 * 20 - 4, 3)
    assert (drawn[:, :16] == (10, 20, 30)).all()
    assert seen[0].shape == (1, 4)
    assert seen[0].equal(seen[1])
