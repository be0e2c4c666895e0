"""Label maps and the data sets of segmentation: what is read, and what is refused."""

import os
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets import DatasetError, LoadSegmentationMap
from lightvit_dense.datasets.transforms.segmentation import read_label_map
from tests.helpers import toy_world

PREFIX = dict(img_path='images/training', seg_map_path='annotations/training')
LOAD = [dict(type='lightvit_dense.LoadImage'), dict(type='lightvit_dense.LoadSegmentationMap')]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy') / 'world'
    return toy_world.build(root, 'ade20k', seed=1, train=5).root / 'ade20k'


@pytest.fixture
def root(world, tmp_path):
    return shutil.copytree(world, tmp_path / 'ade20k')


def build(root, kind='ADE20KDataset', **kwargs):
    cfg = dict(
        type=f'lightvit_dense.{kind}',
        data_root=str(root),
        data_prefix=PREFIX,
        pipeline=LOAD,
        serialize_data=False,  # mmengine collects garbage for it, which takes long in a test
    )
    return DATASETS.build({**cfg, **kwargs})


def write_map(path, array, mode=None):
    Image.fromarray(array).convert(mode).save(path) if mode else Image.fromarray(array).save(path)
    return str(path)


def item(path, **kwargs):
    return dict(seg_map_path=path, img_path='a.jpg', seg_fields=[], reduce_zero_label=True) | kwargs


# ---------------------------------------------------------------- label maps


@pytest.mark.parametrize('reduce_zero', [True, False])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 0, 2: 1, 3: 255, 4: 2}])
def test_labels_are_those_of_mmseg(tmp_path, reduce_zero, label_map):
    ids = np.random.default_rng(0).choice([0, 1, 2, 3, 4, 255], (30, 40)).astype(np.uint8)
    path = write_map(tmp_path / 'a.png', ids)
    given = dict(reduce_zero_label=reduce_zero, label_map=label_map)
    theirs = TRANSFORMS.build(dict(type='mmseg.LoadAnnotations'))(item(path, **given))
    ours = LoadSegmentationMap(num_classes=5)(item(path, ori_shape=(30, 40), **given))
    np.testing.assert_array_equal(ours['gt_seg_map'], theirs['gt_seg_map'])
    assert ours['gt_seg_map'].dtype == np.uint8
    assert ours['seg_fields'] == theirs['seg_fields'] == ['gt_seg_map']


def test_zero_is_ignored_and_the_rest_counts_from_one(tmp_path):
    path = write_map(tmp_path / 'a.png', np.array([[0, 1, 150, 255]], np.uint8))
    labels = LoadSegmentationMap(150)(item(path))['gt_seg_map']
    assert labels.tolist() == [[255, 0, 149, 255]]
    kept = LoadSegmentationMap(151)(item(path, reduce_zero_label=False))['gt_seg_map']
    assert kept.tolist() == [[0, 1, 150, 255]]


def test_a_palette_image_gives_its_places(tmp_path):
    ids = np.array([[0, 3], [2, 255]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    assert image.mode == 'P'
    image.save(tmp_path / 'p.png')
    np.testing.assert_array_equal(read_label_map(str(tmp_path / 'p.png')), ids)
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert('1')
    bits.save(tmp_path / 'bits.png')
    assert read_label_map(str(tmp_path / 'bits.png')).tolist() == [[0, 1], [1, 0]]


def test_colours_and_more_bits_are_refused(tmp_path):
    grey = np.full((4, 5), 7, np.uint8)
    for mode in ('RGB', 'RGBA', 'LA'):
        path = write_map(tmp_path / f'{mode}.png', grey, mode)
        with pytest.raises(DatasetError, match=rf"{mode}\.png.*kind '{mode}'.*grey 8-bit PNG"):
            LoadSegmentationMap(150)(item(path))
    path = write_map(tmp_path / 'deep.png', grey.astype(np.uint16) * 300)
    with pytest.raises(DatasetError, match=r"deep\.png.*'I;16'"):
        LoadSegmentationMap(150)(item(path))


def test_damaged_files_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 150, (64, 64)).astype(np.uint8)
    whole = tmp_path / 'whole.png'
    write_map(whole, noise)
    data = whole.read_bytes()
    for name, content in (('cut', data[: len(data) // 2]), ('empty', b''), ('text', b'no image')):
        path = tmp_path / f'{name}.png'
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf'{name}\.png: this label map cannot be read'):
            LoadSegmentationMap(150)(item(str(path)))
    with pytest.raises(DatasetError, match=r'gone\.png: this label map does not exist'):
        LoadSegmentationMap(150)(item(str(tmp_path / 'gone.png')))


def test_another_size_than_the_image_is_refused(tmp_path):
    path = write_map(tmp_path / 'a.png', np.ones((30, 40), np.uint8))
    with pytest.raises(DatasetError, match=r'a\.png.*40 x 30 pixels, its image a\.jpg 30 x 40'):
        LoadSegmentationMap(150)(item(path, ori_shape=(40, 30)))
    # The image may have been resized since: the map is compared with the file.
    LoadSegmentationMap(150)(item(path, ori_shape=(30, 40), img_shape=(60, 80)))


def test_ids_beyond_the_classes_are_named(tmp_path):
    path = write_map(tmp_path / 'a.png', np.array([[0, 150, 151, 254, 255]], np.uint8))
    with pytest.raises(DatasetError, match=r'id 151, 254, but the 150 classes have the ids 1..150'):
        LoadSegmentationMap()(item(path, num_classes=150))
    with pytest.raises(DatasetError, match=r'id 150, 151, 254.* 0..149\. '):
        LoadSegmentationMap(150)(item(path, reduce_zero_label=False))
    assert LoadSegmentationMap()(item(path))['gt_seg_map'].tolist() == [[255, 149, 150, 253, 255]]
    with pytest.raises(ValueError, match='num_classes'):
        LoadSegmentationMap(256)


# ---------------------------------------------------------------- data sets


def test_the_real_loader_reads_the_toy_world(world):
    dataset = build(world, pipeline=[*LOAD, dict(type='mmseg.PackSegInputs')])
    assert type(dataset).__name__ == 'ADE20KDataset'
    assert DATASETS.get('lightvit_dense.ADE20KDataset') is type(dataset)
    assert len(dataset) == 5
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 150
    assert dataset.metainfo['reduce_zero_label']
    sample = dataset[3]
    labels = sample['data_samples'].gt_sem_seg.data
    raw = np.array(Image.open(world / 'annotations/training/ADE_train_00000004.png'))
    assert (raw == 0).any()
    expected = torch.from_numpy(np.where(raw == 0, 255, raw.astype(int) - 1))
    assert torch.equal(labels[0], expected)
    assert sample['inputs'].shape[1:] == labels.shape[1:]


def test_a_choice_of_classes_ignores_the_others(world):
    chosen = ('flower', 'wall')
    dataset = build(world, metainfo=dict(classes=chosen))
    whole = build(world)
    palette = whole.metainfo['palette']
    assert dataset.metainfo['palette'] == [palette[66], palette[0]]
    for one, all_ in ((dataset[i]['gt_seg_map'], whole[i]['gt_seg_map']) for i in range(5)):
        expected = np.full_like(all_, 255)
        expected[all_ == 66], expected[all_ == 0] = 0, 1
        np.testing.assert_array_equal(one, expected)
    with pytest.raises(DatasetError, match=r"no class 'flowre'\. Did you mean 'flower'\?"):
        build(world, metainfo=dict(classes=('flowre',)))


def test_classes_of_ones_own(root):
    folder = root / 'annotations/training'
    for path in folder.iterdir():
        write_map(path, (np.array(Image.open(path)) > 1).astype(np.uint8))
    dataset = build(root, 'SegmentationDataset', metainfo=dict(classes=('ground', 'thing')))
    assert set(np.unique(dataset[0]['gt_seg_map'])) == {0, 1}
    assert len(dataset.metainfo['palette']) == 2
    with pytest.raises(DatasetError, match='needs the names of the classes'):
        build(root, 'SegmentationDataset')
    one = build(root, 'SegmentationDataset', metainfo=dict(classes=('ground',)))
    with pytest.raises(DatasetError, match=r'holds the id 1, but the 1 classes'):
        one[0]


def test_missing_folders_and_files_are_named(root):
    with pytest.raises(DatasetError, match=r'nowhere: this folder of images does not exist'):
        build(root, data_prefix=dict(PREFIX, img_path='nowhere'))
    with pytest.raises(DatasetError, match=r'nowhere: this folder of label maps does not exist'):
        build(root, data_prefix=dict(PREFIX, seg_map_path='nowhere'))
    with pytest.raises(DatasetError, match='data_prefix lacks img_path'):
        build(root, data_prefix=dict(img_path='', seg_map_path='x'), data_root=None)
    with pytest.raises(DatasetError, match=r'images/training: holds no image \*\.jpeg'):
        build(root, img_suffix='.jpeg')
    with pytest.raises(DatasetError, match=r'nope\.txt: this list of images does not exist'):
        build(root, ann_file='nope.txt')
    (root / 'annotations/training/ADE_train_00000002.png').unlink()
    with pytest.raises(DatasetError, match=r'1 of 5 files are missing .label.*00000002\.png'):
        build(root)
    (root / 'images/training/ADE_train_00000002.jpg').unlink()
    assert len(build(root)) == 4
    (root / 'images/training/ADE_train_00000003.jpg').unlink()
    with pytest.raises(DatasetError, match=r'1 of 4 label maps have no image.*00000003\.png'):
        build(root)


def test_a_list_chooses_images(root):
    (root / 'some.txt').write_text('ADE_train_00000004\nADE_train_00000001\n')
    dataset = build(root, ann_file='some.txt')
    names = [os.path.basename(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    assert names == ['ADE_train_00000004.jpg', 'ADE_train_00000001.jpg']
    (root / 'some.txt').write_text('ADE_train_00000004\nADE_train_00000009\n')
    with pytest.raises(DatasetError, match=r'some\.txt: 1 of 2 files.*ADE_train_00000009\.jpg'):
        build(root, ann_file='some.txt')


def test_images_without_truth(root):
    shutil.rmtree(root / 'annotations')
    pipeline = [LOAD[0], dict(type='mmseg.PackSegInputs')]
    prefix = dict(img_path='images/validation')
    dataset = build(root, data_prefix=prefix, test_mode=True, pipeline=pipeline)
    assert len(dataset) == 2
    assert 'gt_sem_seg' not in dataset[0]['data_samples']


def test_another_table_of_classes_is_refused(root):
    table = root / 'objectInfo150.txt'
    lines = table.read_text().splitlines()
    # The published file has more columns and names a class by all its synonyms.
    published = [line.split('\t') for line in lines]
    published[1] = ['1 ', '0.1576', '11664', '1172', '1', 'wall']
    published[8][-1] = 'bed '
    published[90][-1] = 'television, television receiver, television set, tv'
    table.write_text('\n'.join('\t'.join(row) for row in published))
    assert len(build(root)) == 5
    swapped = [*lines[:13], lines[13].replace('person', 'cat'), *lines[14:]]
    table.write_text('\n'.join(swapped))
    with pytest.raises(DatasetError, match=r"objectInfo150.*class 13 is 'cat' where .* 'person'"):
        build(root)
    table.write_text('\n'.join(lines[:-1]))
    with pytest.raises(DatasetError, match='names 149 classes where ADE20KDataset has 150'):
        build(root)
    table.write_text('\n'.join([*lines[:5], *lines[6:]]))
    with pytest.raises(DatasetError, match='line 6 is not that of class 5'):
        build(root)
    table.write_text('wall\nbuilding\n')
    with pytest.raises(DatasetError, match="does not begin with a line from 'Idx' to 'Name'"):
        build(root)
    table.unlink()
    assert len(build(root)) == 5


# ---------------------------------------------------------------- the recipe's transforms


def recipe(side=32):
    """The training pipeline of the config, small."""
    path = os.path.join(os.path.dirname(__file__), '../../configs/_base_/datasets/ade20k_512.py')
    pipeline = Config.fromfile(path).train_dataloader.dataset.pipeline
    for step in pipeline:
        step.update({k: v for k, v in dict(scale=(4 * side, side)).items() if k in step})
        step.update({k: v for k, v in dict(crop_size=(side, side)).items() if k in step})
    return pipeline


def batches(dataset, workers):
    cfg = dict(type='lightvit_dense.SeededInfiniteSampler', dataset=dataset, seed=5)
    loader = DataLoader(
        dataset, 2, sampler=DATA_SAMPLERS.build(cfg), num_workers=workers, collate_fn=pseudo_collate
    )
    found = [batch for batch, _ in zip(loader, range(6), strict=False)]
    return [
        (image, sample.gt_sem_seg.data)
        for batch in found
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
    ]


def test_the_recipe_is_deterministic_and_keeps_labels(world):
    dataset = build(world, pipeline=recipe())
    alone, others = batches(dataset, 0), batches(dataset, 2)
    allowed = set(np.unique(np.stack([build(world)[i]['gt_seg_map'] for i in range(5)])))
    shapes = set()
    for (image, labels), (image2, labels2) in zip(alone, others, strict=True):
        assert torch.equal(image, image2)
        assert torch.equal(labels, labels2)
        assert image.shape[1:] == labels.shape[1:]
        assert max(image.shape[1:]) <= 32
        assert set(labels.unique().tolist()) <= allowed  # nearest: no labels in between
        shapes.add(tuple(image.shape[1:]))
    assert len(shapes) > 1  # images smaller than the crop are padded later
    assert len({image.float().mean().item() for image, _ in alone}) > 5


def test_a_map_follows_its_image_through_resize_crop_and_flip(root):
    # Images made of their labels: whatever happens to one must happen to the other.
    rng = np.random.default_rng(0)
    for name in [f'ADE_train_{i:08d}' for i in range(1, 6)]:
        blocks = np.kron(rng.integers(1, 10, (4, 4)), np.ones((24, 24))).astype(np.uint8)
        write_map(root / f'annotations/training/{name}.png', blocks)
        write_map(root / f'images/training/{name}.png', np.stack([blocks * 20] * 3, -1))
    pipeline = [step for step in recipe(48) if step.type != 'mmseg.PhotoMetricDistortion']
    dataset = build(root, pipeline=pipeline, img_suffix='.png')
    agree = [
        ((image[0].float() / 20 - 1).round() == labels[0]).float().mean().item()
        for image, labels in batches(dataset, 0)
    ]
    assert min(agree) > 0.8  # but for the blend at the borders of blocks
    assert np.mean(agree) > 0.9


def test_test_time_augmentation_keeps_the_map_as_it_is(world):
    pipeline = [
        LOAD[0],
        dict(
            type='mmcv.TestTimeAug',
            transforms=[
                [dict(type='mmcv.Resize', scale_factor=f, keep_ratio=True) for f in (0.5, 1.5)],
                [dict(type='mmcv.RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
                [LOAD[1]],
                [dict(type='mmseg.PackSegInputs')],
            ],
        ),
    ]
    dataset = build(world, pipeline=pipeline, test_mode=True)
    views = dataset[0]
    truth = torch.from_numpy(build(world)[0]['gt_seg_map']).long()
    assert [tuple(x.shape[1:]) for x in views['inputs']] == [(32, 32)] * 2 + [(96, 96)] * 2
    assert all(torch.equal(s.gt_sem_seg.data[0], truth) for s in views['data_samples'])
    assert [bool(s.flip) for s in views['data_samples']] == [False, True] * 2
