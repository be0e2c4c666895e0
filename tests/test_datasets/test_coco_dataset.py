import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets import DatasetError
from lightvit_dense.datasets.annotations import read_annotations
from lightvit_dense.datasets.detection.coco import CocoDataset

CLASSES = ('cat', 'dog')
CROP = 48


def annotation(number, image, box, category=4, **kwargs):
    x, y, w, h = box
    polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return dict(
        id=number,
        image_id=image,
        category_id=category,
        bbox=list(box),
        area=w * h,
        iscrowd=0,
        segmentation=polygon,
        **kwargs,
    )


def content():
    return dict(
        images=[
            dict(id=1, file_name='a.jpg', width=60, height=40),
            dict(id=2, file_name='empty.jpg', width=64, height=64),
            dict(id=5, file_name='tiny.jpg', width=20, height=14),
        ],
        annotations=[
            annotation(1, 1, (5, 5, 20, 20)),
            annotation(2, 1, (30, 10, 25, 25), category=9),
            annotation(3, 5, (2, 2, 10, 10)),
        ],
        categories=[dict(id=4, name='cat'), dict(id=9, name='dog')],
    )


def write(root, truth):
    (root / 'images').mkdir(exist_ok=True)
    rng = np.random.RandomState(0)
    for image in truth.get('images', []):
        noise = rng.randint(0, 255, (6, 8, 3), np.uint8)
        picture = cv2.resize(noise, (image.get('width', 60), image['height']))
        cv2.imwrite(str(root / 'images' / image['file_name']), picture)
    (root / 'truth.json').write_text(json.dumps(truth))
    return root


PIPELINE = [
    dict(type='lightvit_dense.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='lightvit_dense.ResizeScale', scale=(CROP, CROP), ratio_range=(0.1, 2.0)),
    dict(
        type='lightvit_dense.FixedSizeCrop',
        crop_size=(CROP, CROP),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs'),
]


def build(root, **kwargs):
    cfg = dict(
        type='lightvit_dense.CocoDataset',
        data_root=str(root),
        ann_file='truth.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
        pipeline=PIPELINE,
    )
    return DATASETS.build({**cfg, **kwargs})


def test_annotations(tmp_path):
    dataset = build(write(tmp_path, content()))
    assert type(dataset) is CocoDataset
    assert DATASETS.get('lightvit_dense.CocoDataset') is CocoDataset
    assert len(dataset) == 3
    first = dataset.get_data_info(0)
    assert [i['bbox_label'] for i in first['instances']] == [0, 1]
    assert first['instances'][0]['bbox'] == [5, 5, 25, 25]
    assert dataset.get_data_info(1)['instances'] == []
    assert len(build(tmp_path, filter_cfg=dict(filter_empty_gt=True))) == 2


POLYGONS = dict(PIPELINE[1], poly2mask=False)


def test_polygons_keep_their_fractions(tmp_path):
    """JSON has whole numbers, too; an array of these would cut off what a resize makes of them."""
    pipeline = [PIPELINE[0], POLYGONS, dict(PIPELINE[2], ratio_range=(0.9, 0.9))]
    found = build(write(tmp_path, content()), pipeline=pipeline)[0]
    factor = found['scale_factor']
    assert factor == (43 / 60, 29 / 40)
    corners = found['gt_masks'].masks[0][0].reshape(-1, 2)
    expected = np.array([(5, 5), (25, 5), (25, 25), (5, 25)]) * factor
    np.testing.assert_allclose(corners, expected, rtol=0, atol=1e-12)


def test_run_lengths_are_not_ignored(tmp_path):
    truth = content()
    truth['annotations'][0]['segmentation'] = dict(size=[40, 60], counts=[0, 40, 2360])
    write(tmp_path, truth)
    pipeline = [PIPELINE[0], POLYGONS, PIPELINE[-1]]
    with pytest.raises(DatasetError, match=r'image 1 has an object.*Set poly2mask=True'):
        build(tmp_path, pipeline=pipeline)
    bitmaps = build(tmp_path, pipeline=[*PIPELINE[:2], PIPELINE[-1]])
    assert len(bitmaps[0]['data_samples'].gt_instances) == 2
    truth['annotations'][0]['iscrowd'] = 1
    found = build(write(tmp_path, truth), pipeline=pipeline)[0]['data_samples']
    assert len(found.gt_instances) == len(found.ignored_instances) == 1


def broken(change):
    truth = content()
    change(truth)
    return truth


BREAKS = {
    r"lacks the key 'images'": lambda t: t.pop('images'),
    r"lacks the key 'annotations'": lambda t: t.pop('annotations'),
    r"lacks the key 'categories'": lambda t: t.pop('categories'),
    r"'images' is not a list": lambda t: t.update(images={}),
    r"images\[1\] \(id 2\) lacks 'width'": lambda t: t['images'][1].pop('width'),
    r"annotations\[2\] \(id 3\) lacks 'bbox'": lambda t: t['annotations'][2].pop('bbox'),
    r"annotations\[0\] \(id \?\) lacks 'id'": lambda t: t.update(annotations=['x']),
    r"'annotations' has the id 1 2 times": lambda t: t['annotations'][1].update(id=1),
    r"'images' has the id 1 2 times": lambda t: t['images'][1].update(id=1),
    r'an annotation has the id 0': lambda t: t['annotations'][0].update(id=0),
    r'annotation 2 belongs to image 77': lambda t: t['annotations'][1].update(image_id=77),
    r'annotation 3 has the category 5': lambda t: t['annotations'][2].update(category_id=5),
    r'annotation 1 has the bbox \[1, 2\]': lambda t: t['annotations'][0].update(bbox=[1, 2]),
    r"has no category 'dog' \(1 of 2": lambda t: t['categories'][1].update(name='wolf'),
    r"Set classes to \('dog', 'cat'\)": lambda t: t['categories'].reverse(),
}


@pytest.mark.parametrize('reason', BREAKS)
def test_broken_annotations_are_named(tmp_path, reason):
    write(tmp_path, broken(BREAKS[reason]))
    with pytest.raises(DatasetError, match=reason) as caught:
        build(tmp_path)
    assert str(tmp_path / 'truth.json') in str(caught.value)


@pytest.mark.parametrize('text', ['', '{"images": [', 'no json', '\x00\x01'])
def test_not_json(tmp_path, text):
    (write(tmp_path, content()) / 'truth.json').write_text(text)
    with pytest.raises(DatasetError, match=r'truth\.json: is not JSON'):
        build(tmp_path)


def test_not_a_dict(tmp_path):
    (tmp_path / 'truth.json').write_text('[]')
    with pytest.raises(DatasetError, match='holds a list where a dict is due'):
        read_annotations(str(tmp_path / 'truth.json'))


def test_missing_file_and_folder(tmp_path):
    write(tmp_path, content())
    with pytest.raises(DatasetError, match=r'nowhere\.json: this annotation file does not exist'):
        build(tmp_path, ann_file='nowhere.json')
    with pytest.raises(DatasetError, match='nowhere: this image folder does not exist'):
        build(tmp_path, data_prefix=dict(img='nowhere'))


def test_a_test_set_has_no_annotations(tmp_path):
    truth = content()
    del truth['annotations']
    dataset = build(write(tmp_path, truth), test_mode=True)
    assert len(dataset) == 3
    assert dataset.get_data_info(0)['instances'] == []


def test_bits_do_not_depend_on_workers(tmp_path):
    dataset = build(write(tmp_path, content()))

    def run(count):
        sampler = dict(type='lightvit_dense.SeededInfiniteSampler', dataset=dataset, seed=3)
        sampler = DATA_SAMPLERS.build(sampler)
        loader = DataLoader(
            dataset, 2, sampler=sampler, num_workers=count, collate_fn=pseudo_collate
        )
        batches = [batch for batch, _ in zip(loader, range(4), strict=False)]
        return [
            (image, sample.gt_instances.bboxes.tensor, sample.gt_instances.masks.masks)
            for batch in batches
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
        ]

    for one, other in zip(run(0), run(2), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert np.array_equal(one[2], other[2])
