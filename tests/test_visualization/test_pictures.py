import base64
import json

import cv2
import numpy as np
import pytest

from lightvit_dense.visualization import pictures


@pytest.fixture
def coco(tmp_path):
    """One black 40x60 image with a 10x8 square at (20, 12), and one image without objects."""
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
    square = [20, 12, 30, 12, 30, 20, 20, 20]
    data = {
        'images': [
            {'id': 1, 'file_name': 'a.png', 'height': 40, 'width': 60},
            {'id': 2, 'file_name': 'b.png', 'height': 40, 'width': 60},
        ],
        'categories': [{'id': 7, 'name': 'cup'}],
        'annotations': [
            {'id': 1, 'image_id': 1, 'category_id': 7, 'bbox': [20, 12, 10, 8], 'iscrowd': 0,
             'area': 80, 'segmentation': [square]}
        ],
    }  # fmt: skip
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(data))
    return pictures.CocoPictures(path, tmp_path)


def test_truth_is_drawn_where_it_is(coco):
    (cup,) = coco.truth(1)
    assert cup.mask.sum() == 80
    assert cup.mask[12:20, 20:30].all()
    drawn = pictures.draw_instances(coco.load(1), [cup])
    color = np.array(pictures.class_color(7))
    # The edge has the full colour, the inside 45 % of it over black, the outside none.
    assert (drawn[19, 25] == color).all()
    assert (drawn[15, 20] == color).all()
    assert (drawn[15, 25] == (0.45 * color).astype(np.uint8)).all()
    assert not drawn[25:].any()
    assert not drawn[13:20, 31:].any()
    assert not drawn[13:, :20].any()


def test_scaling_moves_the_box_with_the_image(coco):
    bare = pictures.Instance('cup', (20, 12, 10, 8), class_id=7)
    drawn = pictures.draw_instances(coco.load(1), [bare], scale=2.0)
    assert drawn.shape == (80, 120, 3)
    color = pictures.class_color(7)
    assert (drawn[39, 40:60] == color).all()
    assert not drawn[40:].any()
    assert not drawn[30, 42:58].any()


def test_detections_are_filtered_sorted_and_limited(coco):
    results = [
        {'image_id': 1, 'category_id': 7, 'score': score, 'bbox': [score * 10, 0, 5, 5]}
        for score in (0.9, 0.2, 0.6, 0.7)
    ]
    results.append({'image_id': 2, 'category_id': 7, 'score': 0.99, 'bbox': [0, 0, 1, 1]})
    found = coco.detections(results, 1, threshold=0.5, limit=2)
    assert [instance.score for instance in found] == [0.7, 0.9]


def test_box_of_a_segm_result_comes_from_its_mask(coco):
    from pycocotools import mask as coco_mask

    mask = np.zeros((40, 60), np.uint8, order='F')
    mask[5:9, 30:50] = 1
    rle = coco_mask.encode(mask)
    rle['counts'] = rle['counts'].decode()
    record = {'image_id': 1, 'category_id': 7, 'score': 0.8, 'segmentation': rle}
    (found,) = coco.detections([record], 1)
    assert found.bbox == (30, 5, 20, 4)
    assert (found.mask == mask.astype(bool)).all()


def test_uncompressed_rle_is_decoded():
    # Columns first: 2 zeros, 3 ones, 1 zero in a 3x2 mask.
    mask = pictures.decode_mask({'counts': [2, 3, 1], 'size': [3, 2]}, 3, 2)
    assert mask.tolist() == [[False, True], [False, True], [True, False]]


def test_choose_takes_only_images_with_objects(coco):
    assert coco.choose(5) == [1]


def test_missing_image_is_named(coco, tmp_path):
    (tmp_path / 'b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'b\.png'):
        coco.load(2)


def test_grid_places_pictures():
    white = np.full((4, 6, 3), 255, np.uint8)
    black = np.zeros((2, 2, 3), np.uint8)
    pad_shape = pictures.grid([[white, black], [black]], gap=1)
    assert pad_shape.shape == (9, 13, 3)
    assert (pad_shape[:4, :6] == 255).all()
    assert (pad_shape[:, 6] == 128).all()
    assert not pad_shape[1:3, 9:11].any()
    assert not pad_shape[6:8, 2:4].any()
    with pytest.raises(ValueError, match='at least one'):
        pictures.grid([])


def test_png_address_round_trips():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    kind, _, payload = pictures.data_uri(image, quality=None).partition(',')
    assert kind == 'data:image/png;base64'
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(payload), np.uint8), cv2.IMREAD_COLOR)
    assert (cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB) == image).all()


def test_colours_of_neighbouring_classes_differ_visibly():
    colors = np.array([pictures.class_color(i) for i in range(1, 9)], int)
    distance = np.abs(colors[:, None] - colors[None]).sum(-1)
    assert distance[~np.eye(8, dtype=bool)].min() > 60
