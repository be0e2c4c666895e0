"""COCO files, awkward and broken ones too: what is read, left out as in mmdet, and refused."""

import json
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from pycocotools import mask as rle

from lightvit_dense.datasets import (
    DatasetError,
    SeededIndex,
    annotation_boxes,
    annotation_masks,
    contents,
)
from lightvit_dense.datasets.annotations import read_annotations
from lightvit_dense.datasets.detection import coco
from lightvit_dense.errors import UserError
from tests.helpers import data_sets
from tests.helpers.data_sets import write_image

CONFIGS = Path(__file__).parents[2] / 'configs'
HEIGHT, WIDTH = 40, 60
CLASSES = ('cat', 'dog')
SQUARE = [[5, 5, 25, 5, 25, 25, 5, 25]]
LOAD = [
    dict(type='lightvit_dense.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
]


def square(box):
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def bitmap(box=(5, 5, 20, 20)):
    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + h, x : x + w] = 1
    return mask


def compressed(mask):
    code = rle.encode(np.asfortranarray(mask))
    return dict(size=list(code['size']), counts=code['counts'].decode())


def uncompressed(mask):
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=runs if flat[0] == 0 else [0, *runs])


def note(number=1, segmentation=SQUARE, box=(5, 5, 20, 20), **kwargs):
    entry = dict(id=number, image_id=1, category_id=4, bbox=list(box), area=400, iscrowd=0)
    return entry | dict(segmentation=segmentation) | kwargs


def write(root, *notes, images=((1, 'a.png', WIDTH, HEIGHT),), change=lambda truth: None):
    """Write images and their truth, with a change to the file."""
    keys = ('id', 'file_name', 'width', 'height')
    truth = dict(
        images=[dict(zip(keys, row, strict=True)) for row in images],
        annotations=list(notes),
        categories=[dict(id=4, name='cat'), dict(id=9, name='dog')],
    )
    for entry in truth['images']:
        write_image(root / entry['file_name'], (entry['height'], entry['width']))
    change(truth)
    (root / 'truth.json').write_text(json.dumps(truth))
    return root


def write_three(root, change=lambda truth: None):
    """Write three images, one of them empty and one tiny."""
    images = [(1, 'a.png', 60, 40), (2, 'empty.png', 64, 64), (5, 'tiny.png', 20, 14)]
    box = (30, 10, 25, 25)
    second, third = note(2, square(box), box, category_id=9), note(3, image_id=5)
    return write(root, note(1), second, third, images=images, change=change)


def build(root, **options):
    cfg = dict(
        ann_file='truth.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        pipeline=LOAD,
        serialize_data=False,  # mmengine collects garbage for it, which takes long in a test
    )
    return data_sets.build('CocoDataset', root, **cfg | options)


def recipe(side=48, poly2mask=False):
    """The training pipeline of the config, small, with masks as polygons or bitmaps."""
    path = CONFIGS / '_base_/datasets/coco_lsj_640.py'
    pipeline = Config.fromfile(path).train_dataloader.dataset.pipeline
    for step in pipeline:
        step.update({k: (side, side) for k in ('scale', 'crop_size') if k in step})
        if 'poly2mask' in step:
            step.poly2mask = poly2mask
    return pipeline


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize('form', [compressed, uncompressed, lambda mask: SQUARE])
def test_all_forms_of_masks_are_read(tmp_path, form):
    item = build(write(tmp_path, note(segmentation=form(bitmap()))))[0]
    np.testing.assert_array_equal(item['gt_masks'].masks, bitmap()[None])
    assert item['gt_bboxes'].tensor.tolist() == [[5, 5, 25, 25]]
    assert item['gt_bboxes_labels'].tolist() == [0]
    assert not item['gt_ignore_flags'].any()


@pytest.mark.parametrize('form', [compressed, uncompressed, lambda mask: SQUARE])
def test_crowds_are_ignored(tmp_path, form):
    crowd = note(2, form(bitmap()), iscrowd=1)
    dataset = build(write(tmp_path, note(), crowd), pipeline=recipe(poly2mask=True))
    polygons = build(tmp_path, pipeline=recipe())
    for seed in range(8):
        data = dataset[SeededIndex(0, seed)]['data_samples']
        assert len(data.gt_instances) <= 1
        assert len(data.gt_instances) + len(data.ignored_instances) in (0, 2)
        data = polygons[SeededIndex(0, seed)]['data_samples']
        assert data.gt_instances.labels.tolist() in ([], [0])


@pytest.mark.parametrize(
    ('box', 'kept'),
    [
        ((50, 30, 40, 40), [50, 30, 90, 70]),  # reaches out: the pipeline clips it
        ((-10, -10, 30, 30), [-10, -10, 20, 20]),
        ((60, 0, 10, 10), None),
        ((-30, 0, 20, 10), None),
        ((5, 5, 0, 10), None),
        ((5, 5, 10, 0.5), None),
        ((25, 25, -20, -20), None),
    ],
)
def test_boxes_outside_of_the_image_and_of_no_size_are_left_out(tmp_path, box, kept):
    others = note(2, image_id=2), note(3, image_id=2)
    images = [(1, 'a.png', WIDTH, HEIGHT), (2, 'b.png', WIDTH, HEIGHT)]
    dataset = build(write(tmp_path, note(1, square(box), box), *others, images=images))
    found = [instance['bbox'] for instance in dataset.get_data_info(0)['instances']]
    assert found == ([kept] if kept else [])
    dataset = build(tmp_path, pipeline=recipe())
    for seed in range(8):
        sample = dataset[SeededIndex(0, seed)]
        height, width = sample['inputs'].shape[1:]
        boxes = sample['data_samples'].gt_instances.bboxes.tensor
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height] * 2)).all()


POINT, OUTSIDE = [[5, 5, 5, 5, 5, 5]], [[70, 50, 80, 50, 80, 60]]


@pytest.mark.parametrize(
    ('mask', 'poly2mask'),
    [
        (compressed(bitmap((0, 0, 0, 0))), True),
        *((mask, poly2mask) for mask in (POINT, OUTSIDE) for poly2mask in (True, False)),
    ],
)
def test_masks_without_a_pixel_are_left_out(tmp_path, mask, poly2mask):
    dataset = build(write(tmp_path, note(1, mask), note(2)), pipeline=recipe(poly2mask=poly2mask))
    counts = set()
    for seed in range(10):
        data = dataset[SeededIndex(0, seed)]['data_samples'].gt_instances
        assert data.masks.to_ndarray().any((1, 2)).all()
        counts.add(len(data))
    assert counts <= {0, 1}
    assert 1 in counts


@pytest.fixture
def warnings(monkeypatch):
    """What is logged while data sets are built."""
    lines: list[str] = []
    for module in (annotation_masks, coco):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: lines.append(text))
    return lines


def test_polygons_of_too_few_corners_are_passed_over_in_training(tmp_path, warnings):
    few, odd = [5, 5, 9, 9], [1, 2, 3, 4, 5, 6, 7]
    notes = [note(1, [few]), note(2, [odd, *SQUARE]), note(3)]
    dataset = build(write(tmp_path, *notes))
    assert len(warnings) == 1
    assert '2 annotation(s) have a polygon of fewer than three corners' in warnings[0]
    assert 'such as annotation 1' in warnings[0]
    item = dataset[0]
    assert item['gt_ignore_flags'].tolist() == [True, False, False]
    np.testing.assert_array_equal(item['gt_masks'].masks[1], bitmap())
    # Evaluation could not read them.
    with pytest.raises(DatasetError, match=r'such as annotation 1\. Correct it or remove'):
        build(tmp_path, test_mode=True)


def test_annotations(tmp_path):
    dataset = build(write_three(tmp_path))
    assert len(dataset) == 3
    first = dataset.get_data_info(0)['instances']
    assert [(i['bbox_label'], i['bbox']) for i in first] == [
        (0, [5, 5, 25, 25]),
        (1, [30, 10, 55, 35]),
    ]
    assert dataset.get_data_info(1)['instances'] == []
    assert len(build(tmp_path, filter_cfg=dict(filter_empty_gt=True))) == 2
    write_three(tmp_path, lambda truth: truth.pop('annotations'))
    test_set = build(tmp_path, test_mode=True)
    assert [test_set.get_data_info(place)['instances'] for place in range(3)] == [[], [], []]


POLYGONS = dict(LOAD[1], poly2mask=False)
PACK = dict(type='mmdet.PackDetInputs')


def test_polygons_keep_their_fractions(tmp_path):
    """JSON has whole numbers, too; an array of these would cut off what a resize makes of them."""
    jitter = dict(type='lightvit_dense.ResizeScale', scale=(48, 48), ratio_range=(0.9, 0.9))
    pipeline = [LOAD[0], POLYGONS, jitter]
    found = build(write_three(tmp_path), pipeline=pipeline)[0]
    factor = found['scale_factor']
    assert factor == (43 / 60, 29 / 40)
    corners = found['gt_masks'].masks[0][0].reshape(-1, 2)
    expected = np.array([(5, 5), (25, 5), (25, 25), (5, 25)]) * factor
    np.testing.assert_allclose(corners, expected, rtol=0, atol=1e-12)


def test_run_lengths_are_not_ignored(tmp_path):
    def by_runs(truth):
        truth['annotations'][0]['segmentation'] = compressed(bitmap())

    pipeline = [LOAD[0], POLYGONS, PACK]
    write_three(tmp_path, by_runs)
    with pytest.raises(DatasetError, match=r'image 1 has an object.*Set poly2mask=True'):
        build(tmp_path, pipeline=pipeline)
    assert len(build(tmp_path, pipeline=[*LOAD, PACK])[0]['data_samples'].gt_instances) == 2
    write(tmp_path, note(1, compressed(bitmap()), iscrowd=1), note(2))
    found = build(tmp_path, pipeline=pipeline)[0]['data_samples']
    assert len(found.gt_instances) == len(found.ignored_instances) == 1


# ---------------------------------------------------------------- what is refused


def coded(counts):
    return dict(size=[HEIGHT, WIDTH], counts=counts)


BROKEN = {
    r'annotation 7: its run lengths cover 30 of 2400 pixels': note(7, coded([10, 20])),
    r'annotation 7: its run lengths cover 5000 of 2400': note(7, coded([10, 4990])),
    r"annotation 7: the 'counts' of its run lengths are damaged": note(7, coded([-5, 2405])),
    r"annotation 8: the 'counts' of its": note(8, coded('abc\u00e9')),
    r"annotation 8: the 'counts' of": note(8, coded('')),
    r"annotation 8: the 'counts'": note(8, coded(compressed(bitmap())['counts'][:-1])),
    r'annotation 8: its run lengths cover 250 of 2400': note(
        8, coded(compressed(np.eye(10, 25, dtype=np.uint8))['counts'])
    ),
    r'annotation 9: its run lengths are of an image of the size \[60, 40\], the file lists '
    r'\[40, 60\]': note(9, compressed(bitmap().T)),
    r'annotation 9: its run lengths are of an image of the size None': note(9, dict(counts='0')),
    r'annotation 3: its segmentation is neither': note(3, 'text'),
    r'annotation 3: its segmentation is neither a list': note(3, SQUARE[0]),
    r'annotation 3: a polygon holds something that is no number': note(3, [[1, 2, 'x', 4, 5, 6]]),
    r'annotation 3: a polygon has a corner more than': note(3, [[0, 0, 1e9, 0, 1e9, 1e9]]),
    r'annotations\[0\] \(id 5\) holds NaN or Infinity': note(5, [[float('nan'), 1, 2, 3, 4, 5]]),
    r'annotations\[0\] \(id 6\) holds NaN or Infinity': note(6, box=(1, 2, float('inf'), 4)),
    r'annotation 4 has no segmentation, but the pipeline loads masks': note(4, []),
}
BREAKS = {
    r"lacks the key 'images'": lambda t: t.pop('images'),
    r"lacks the key 'annotations'": lambda t: t.pop('annotations'),
    r"lacks the key 'categories'": lambda t: t.pop('categories'),
    r"'images' is not a list": lambda t: t.update(images={}),
    r"images\[1\] \(id 2\) lacks 'width'": lambda t: t['images'][1].pop('width'),
    r"annotations\[2\] \(id 3\) lacks 'bbox'": lambda t: t['annotations'][2].pop('bbox'),
    r"annotations\[0\] \(id \?\) lacks 'id'": lambda t: t['annotations'][0].pop('id'),
    r"annotations\[0\] is no dict but 'x'": lambda t: t.update(annotations=['x']),
    r"'images' is empty": lambda t: t.update(images=[], annotations=[]),
    r"'annotations' has the id 1 2 times": lambda t: t['annotations'][1].update(id=1),
    r"'images' has the id 1 2 times": lambda t: t['images'][1].update(id=1),
    r'annotation 2 has the image_id 7, wh': lambda t: t['annotations'][1].update(image_id=7),
    r'annotation 3 has the category_id 5': lambda t: t['annotations'][2].update(category_id=5),
    r"has no category 'dog' \(1 of 2": lambda t: t['categories'][1].update(name='wolf'),
    r"Set classes to \('dog', 'cat'\)": lambda t: t['categories'].reverse(),
    r"has 2 categories of the name 'dog'": lambda t: t['categories'].append(dict(id=7, name='dog')),
}


def wrong(kind, key, value):
    """A value that is not what it has to be, and what is said of it."""
    text = rf'{kind}\[0\] \(id \S+ has the {key} {re.escape(repr(value)[:80])}\. Write '
    return text, lambda truth: truth[kind][0].update({key: value})


IDS = ('1', 1.0, -1, None, True, 2**64)
BREAKS |= dict(
    wrong(kind, key, value)
    for (kind, key), values in {
        ('images', 'id'): IDS,
        ('images', 'width'): (0, -3, 2.5, '60', None),
        ('images', 'height'): ('40',),
        ('images', 'file_name'): (None, '', 5),
        ('categories', 'id'): IDS,
        ('categories', 'name'): (7, None),
        ('annotations', 'id'): IDS,
        ('annotations', 'image_id'): IDS,
        ('annotations', 'category_id'): IDS,
        ('annotations', 'bbox'): ([1, 2], [1, 2, 3, '4'], 'x', None, [1, 2, 3, 10**400]),
        ('annotations', 'area'): (None, '400', 10**400),
        ('annotations', 'iscrowd'): (None, '0', 2, 0.5),
        ('annotations', 'ignore'): ('no',),
    }.items()
    for value in values
)


@pytest.mark.parametrize('reason', [*BROKEN, *BREAKS])
def test_broken_annotations_are_named(tmp_path, reason):
    if reason in BROKEN:
        write(tmp_path, BROKEN[reason])
    else:
        write_three(tmp_path, BREAKS[reason])
    with pytest.raises(DatasetError, match=rf'truth\.json: .*{reason}'):
        build(tmp_path)


@pytest.mark.parametrize('text', ['', '{"images": [', 'no json', '\x00\x01', '[]'])
def test_what_is_no_dict_in_json(tmp_path, text):
    (tmp_path / 'truth.json').write_text(text)
    reason = 'holds a list where a dict is due' if text == '[]' else 'is not JSON'
    with pytest.raises(DatasetError, match=rf'truth\.json: {reason}'):
        build(tmp_path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    write(tmp_path, note())
    path = tmp_path / 'truth.json'
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert len(build(tmp_path))
    path.write_bytes(path.read_bytes() + b'\n\xff')
    with pytest.raises(UserError, match=r'truth\.json, line \d+: is not UTF-8 text'):
        build(tmp_path)


def test_missing_file_and_folder(tmp_path):
    write(tmp_path)
    with pytest.raises(DatasetError, match=r'nowhere\.json: this annotation file does not exist'):
        build(tmp_path, ann_file='nowhere.json')
    with pytest.raises(DatasetError, match='nowhere: this image folder does not exist'):
        build(tmp_path, data_prefix=dict(img='nowhere'))


def test_boxes_alone_need_no_masks(tmp_path):
    entry = note()
    del entry['segmentation']
    load = [LOAD[0], dict(type='mmdet.LoadAnnotations', with_bbox=True)]
    item = build(write(tmp_path, entry), pipeline=load)[0]
    assert item['gt_bboxes'].tensor.tolist() == [[5, 5, 25, 25]]


@pytest.mark.parametrize('test_mode', [False, True])
def test_an_image_of_another_size_is_refused(tmp_path, test_mode):
    dataset = build(write(tmp_path, note()), test_mode=test_mode)
    write_image(tmp_path / 'a.png', (WIDTH, HEIGHT))  # lies on its side
    with pytest.raises(DatasetError, match=r'a\.png: the image has 40 x 60 pixels.*for 60 x 40'):
        dataset[0]


def test_another_list_of_categories(tmp_path, warnings):
    dataset = build(write(tmp_path, note(1), note(2, category_id=2), change=add_fox))
    assert len(warnings) == 1
    assert '1 of its 3 categories are not among the 2 classes' in warnings[0]
    assert 'fox' in warnings[0]
    assert len(dataset.get_data_info(0)['instances']) == 1


# ---------------------------------------------------------------- what there is to learn

FEW, TINY = [[5, 5, 9, 9]], (5, 5, 0.5, 9)
LOST = {
    "marked 'ignore'": dict(ignore=1),
    'of area 0 or less': dict(area=0),
    'of a box below a pixel': dict(box=TINY, segmentation=square(TINY)),
    'outside of the image': dict(box=(60, 5, 1, 9), segmentation=square((60, 5, 1, 9))),
    'marked as crowds': dict(iscrowd=1),
    'without a polygon of three corners': dict(segmentation=FEW),
    'in images of a side below min_size=16': dict(
        image_id=2, box=(5, 2, 20, 10), segmentation=square((5, 2, 20, 10))
    ),
    'of other categories': dict(category_id=2),
}
TWO = [(1, 'a.png', WIDTH, HEIGHT), (2, 'tiny.png', WIDTH, 15)]
SIZE = dict(filter_cfg=dict(min_size=16))


def add_fox(truth):
    truth['categories'].append(dict(id=2, name='fox'))


@pytest.fixture
def logged(monkeypatch):
    """What is logged of the contents, and of boxes."""
    lines: list[str] = []
    for module in (contents, annotation_boxes):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: lines.append(text))
    return lines


def test_all_that_is_left_out_is_counted_and_logged(tmp_path, logged):
    """The counts are those of the instances that mmdet leaves."""
    notes = [note(number, **kwargs) for number, kwargs in enumerate(LOST.values(), 2)]
    write(tmp_path, note(), *notes, images=TWO, change=add_fox)
    found = build(tmp_path, max_dropped=0.9, **SIZE)
    assert found.contents.classes == [('cat', 1, 1), ('dog', 0, 0)]
    assert found.contents.dropped | found.contents.aside == dict.fromkeys(LOST, 1)
    assert (~found[0]['gt_ignore_flags']).sum() == found.contents.total == 1
    table, absent = logged
    lines = ['class', 'cat', 'dog', 'all', *(f'dropped: {why}' for why in LOST)]
    lines[-1] = 'left out: of other categories'
    assert [re.split('  +', line)[0] for line in table.splitlines()[1:]] == lines
    assert '1 of 2 classes never occur: dog.' in absent
    with pytest.raises(DatasetError, match=r'truth\.json: 88% of its objects would be dr.*0\.5'):
        build(tmp_path, **SIZE)
    with pytest.raises(DatasetError, match='max_dropped must lie in'):
        build(tmp_path, max_dropped=2)


@pytest.mark.parametrize('reason', LOST)
def test_training_on_nothing_is_refused(tmp_path, reason):
    write(tmp_path, note(**LOST[reason]), images=TWO, change=add_fox)
    seen = r'truth\.json: no usable objects in \d images\. Left out: 1 '
    with pytest.raises(DatasetError, match=f'{seen}{reason}. Check bbox .*, area .*and iscrowd'):
        build(tmp_path, max_dropped=1, **SIZE)


def test_a_file_without_objects_is_for_test_sets_only(tmp_path):
    with pytest.raises(DatasetError, match='no usable objects in 1 images'):
        build(write(tmp_path))
    assert len(build(tmp_path, test_mode=True)) == 1


BOXES = np.array([[2, 3, 9, 8], [30, 20, 25, 15], [36, 5, 22, 30], [3, 25, 40, 10]], float)
CORNERS = np.hstack([BOXES[:, :2], BOXES[:, :2] + BOXES[:, 2:]])
CENTRES = np.hstack([BOXES[:, :2] + BOXES[:, 2:] / 2, BOXES[:, 2:]])
SIDES = np.array([WIDTH, HEIGHT] * 2)
LOOKS = {  # boxes, what is said of them with masks, and without
    'right': (BOXES, None, None),
    'corners': (CORNERS, r'two corners \(x1', r'two corners \(x1'),
    'centres': (CENTRES, 'a centre and a size', 'a centre and a size'),
    'vertical first': (BOXES[:, [1, 0, 3, 2]], 'the vertical before', '3 of 4 boxes exceed'),
    'fractions': (BOXES / SIDES, *[r'parts of the sides \(0\.\.1\)'] * 2),
    'fractions of centres': (CENTRES / SIDES, *['parts of the sides'] * 2),
    'beside the masks': (BOXES * 0.3, '4 of 4 boxes do not fit their own masks; annot', None),
    'beside the image': (BOXES + 60, 'do not fit', '4 of 4 boxes exceed their images'),
}


@pytest.mark.parametrize('form', [square, lambda box: compressed(bitmap(map(int, box))), None])
@pytest.mark.parametrize('name', LOOKS)
def test_boxes_of_another_kind_are_refused_by_name(tmp_path, name, form):
    boxes, by_masks, by_borders = LOOKS[name]
    pairs = enumerate(zip(boxes.tolist(), BOXES.tolist(), strict=True), 1)
    write(tmp_path, *(note(n, form(right) if form else [], box) for n, (box, right) in pairs))
    words = by_masks if form else by_borders
    refused = pytest.raises(DatasetError, match=rf'truth\.json: .*{words}.*bbox is \[left, top')
    with refused if words else nullcontext():
        read_annotations(str(tmp_path / 'truth.json'))


def test_a_few_odd_boxes_are_a_warning(tmp_path, logged):
    wide, off = (40, 5, 50, 20), (35, 20, 20, 15)
    good = [note(number) for number in (1, 2, 3)]
    write(tmp_path, *good, note(4, square(wide), wide), note(5, SQUARE, off))
    read_annotations(str(tmp_path / 'truth.json'))
    fit, reach = logged
    assert '1 of 5 boxes do not fit their own masks; annotation 5 has the bbox' in fit
    assert '1 of 5 boxes exceed their images; annotation 4 has the bbox' in reach
    assert 'look like' not in fit + reach


@pytest.mark.parametrize('test_mode', [False, True])
def test_listed_images_that_are_missing(tmp_path, test_mode):
    images = [(1, 'a.png', 60, 40), (2, 'sub/b.png', 60, 40), (3, 'none/c.png', 60, 40)]
    write(tmp_path, note(), images=images)
    (tmp_path / 'none/c.png').unlink()
    (tmp_path / 'none').rmdir()
    with pytest.raises(DatasetError, match=r'1 of the 3 images .* do not exist, such as .*/c\.png'):
        build(tmp_path, test_mode=test_mode)


# ---------------------------------------------------------------- training on all of it


def test_items_are_drawn_under_the_seed_of_their_index(tmp_path):
    dataset = build(write_three(tmp_path), pipeline=recipe(poly2mask=True))
    one, two = (dataset[SeededIndex(0, 7)] for _ in range(2))
    assert torch.equal(one['inputs'], two['inputs'])
    ours, theirs = (item['data_samples'].gt_instances for item in (one, two))
    assert torch.equal(ours.bboxes.tensor, theirs.bboxes.tensor)
    assert np.array_equal(ours.masks.to_ndarray(), theirs.masks.to_ndarray())
