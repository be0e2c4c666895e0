"""Label maps and the data sets of segmentation: what is read, and what is refused."""

import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image

from lightvit_dense.datasets import DatasetError, LoadSegmentationMap
from lightvit_dense.datasets import contents as tables
from lightvit_dense.datasets.segmentation import contents
from lightvit_dense.datasets.transforms.segmentation import count_ids, read_label_map
from tests.helpers import data_sets, toy_world
from tests.helpers.data_sets import batches
from tests.helpers.photos import photo

PREFIX = dict(img_path='images/training', seg_map_path='annotations/training')
LOAD = [dict(type='lightvit_dense.LoadImage'), dict(type='lightvit_dense.LoadSegmentationMap')]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy') / 'world'
    return toy_world.build(root, 'ade20k', seed=1, train=5).root / 'ade20k'


@pytest.fixture
def root(world, tmp_path):
    return shutil.copytree(world, tmp_path / 'ade20k')


def build(root, kind='ADE20KDataset', **options):
    # mmengine collects garbage when it serializes, which takes long in a test.
    cfg = dict(data_prefix=PREFIX, pipeline=LOAD, serialize_data=False)
    return data_sets.build(kind, root, **cfg | options)


def write_map(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
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


def test_a_palette_image_gives_its_places(tmp_path):
    ids = np.array([[0, 3], [2, 255]], np.uint8)
    image = Image.fromarray(ids)
    image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(tmp_path / 'p.png')
    np.testing.assert_array_equal(read_label_map(str(tmp_path / 'p.png')), ids)
    bits = write_map(tmp_path / 'bits.png', np.uint8([[0, 255], [255, 0]]), '1')
    assert read_label_map(bits).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_ids_of_fewer_bits_stay_as_they_are(tmp_path, bits):
    """Pillow spreads grey values of two and four bits over 0 to 255."""
    ids = np.random.default_rng(bits).integers(0, 2**bits, (5, 24))
    rows = np.unpackbits(ids[..., None].astype(np.uint8), axis=2)[..., 8 - bits :].reshape(5, -1)
    rows = np.hstack([np.zeros((5, 1), np.uint8), np.packbits(rows, axis=1)])  # filter: none
    parts = [(b'IHDR', struct.pack('>IIBBBBB', 24, 5, bits, 0, 0, 0, 0))]
    parts += [(b'IDAT', zlib.compress(rows.tobytes())), (b'IEND', b'')]
    content = b'\x89PNG\r\n\x1a\n'
    for kind, body in parts:
        content += struct.pack('>I', len(body)) + kind + body
        content += struct.pack('>I', zlib.crc32(kind + body))
    (tmp_path / 'a.png').write_bytes(content)
    np.testing.assert_array_equal(read_label_map(str(tmp_path / 'a.png')), ids)


@pytest.mark.parametrize('kind', ['png', 'gif', 'tif'])
@pytest.mark.parametrize(
    ('greys', 'ids', 'place'),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], None),
        ([3, 1, 0], [0, 1, 2], 'place 0 is the grey 3'),  # what an optimiser leaves
        ([0, 150, 7], [0, 1, 1], 'place 1 is the grey 150'),
        ([0, 1, 150], [0, 1, 1], None),  # not used
        ([0, 255], [0, 1], None),  # black and white
        ([255, 0], [0, 1], 'place 0 is the grey 255'),
        ([0, 0, 0], [0, 1, 2], None),  # a palette that says nothing
        ([0, (9, 9, 8), 7], [0, 1, 2], None),  # colours
    ],
)
def test_greys_in_another_order_than_their_places_are_refused(tmp_path, kind, greys, ids, place):
    image, path = Image.fromarray(np.array([ids], np.uint8)), str(tmp_path / f'a.{kind}')
    image.putpalette([v for g in greys for v in (g if isinstance(g, tuple) else (g,) * 3)])
    image.save(path, **dict(optimize=False) if kind == 'gif' else {})
    if place is None:
        assert read_label_map(path).tolist() == [ids]
        return
    with pytest.raises(DatasetError, match=rf'a\.{kind}: has a palette of greys where {place},'):
        read_label_map(path)


def test_maps_may_be_as_large_as_images(tmp_path, monkeypatch):
    path = write_map(tmp_path / 'a.png', np.ones((30, 40), np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert read_label_map(path).sum() == count_ids(read_label_map(path))[1] == 1200
    assert Image.MAX_IMAGE_PIXELS == 100
    large = np.zeros((3, 2**22), np.uint8)
    large[1:, 5:] = 7
    assert count_ids(large)[[0, 7]].tolist() == [2**22 + 10, 2 * (2**22 - 5)]


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA', 'I;16', 'JPEG'])
def test_colours_and_more_bits_are_refused(tmp_path, mode):
    grey = np.full((4, 5), 7, np.uint16 if mode == 'I;16' else np.uint8)
    path = write_map(tmp_path / 'a.png', grey, mode if mode in ('RGB', 'RGBA', 'LA') else None)
    if mode == 'JPEG':
        Image.fromarray(grey).save(path, mode)
    kind = "L' (JPEG, which blurs" if mode == 'JPEG' else f"{mode}' (colours"
    with pytest.raises(DatasetError, match=rf"a\.png.*kind '{re.escape(kind)}.*grey 8-bit PNG"):
        LoadSegmentationMap(150)(item(path))


@pytest.mark.parametrize('damage', ['cut', 'empty', 'text', 'gone'])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / 'a.png'
    write_map(path, np.random.default_rng(0).integers(0, 150, (64, 64)).astype(np.uint8))
    content = {'cut': path.read_bytes()[:2000], 'empty': b'', 'text': b'no image'}
    path.unlink()
    if damage in content:
        path.write_bytes(content[damage])
    reasons = {'gone': 'does not exist', 'cut': 'cannot be read'}
    reason = reasons.get(damage, r'cannot be read \(no image\)')
    with pytest.raises(DatasetError, match=rf'a\.png: this label map {reason}'):
        LoadSegmentationMap(150)(item(str(path)))


def test_another_size_than_the_image_is_refused(tmp_path):
    path = write_map(tmp_path / 'a.png', np.ones((30, 40), np.uint8))
    with pytest.raises(DatasetError, match=r'a\.png.*40 x 30 pixels, its image a\.jpg 30 x 40'):
        LoadSegmentationMap(150)(item(path, ori_shape=(40, 30)))
    # The image may have been resized since: the map is compared with the file.
    LoadSegmentationMap(150)(item(path, ori_shape=(30, 40), img_shape=(60, 80)))


def test_ids_count_from_one_and_those_beyond_the_classes_are_named(tmp_path):
    path = write_map(tmp_path / 'a.png', np.array([[0, 1, 150, 151, 254, 255]], np.uint8))
    with pytest.raises(DatasetError, match=r'id 151, 254, but the 150 classes have the ids 1..150'):
        LoadSegmentationMap()(item(path, num_classes=150))
    with pytest.raises(DatasetError, match=r'id 150, 151, 254.* 0..149\. '):
        LoadSegmentationMap(150)(item(path, reduce_zero_label=False))
    labels = LoadSegmentationMap()(item(path))['gt_seg_map']
    assert labels.tolist() == [[255, 0, 149, 150, 253, 255]]


# ---------------------------------------------------------------- data sets


def test_the_real_loader_reads_the_toy_world(world):
    dataset = build(world, pipeline=[*LOAD, dict(type='mmseg.PackSegInputs')])
    assert len(dataset) == 5
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 150
    sample = dataset[3]
    labels = sample['data_samples'].gt_sem_seg.data
    raw = np.array(Image.open(world / 'annotations/training/ADE_train_00000004.png'))
    assert (raw == 0).any()
    assert torch.equal(labels[0], torch.from_numpy(np.where(raw == 0, 255, raw.astype(int) - 1)))
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


def test_classes_of_ones_own(root):
    folder = root / 'annotations/training'
    for path in folder.iterdir():
        write_map(path, (np.array(Image.open(path)) > 1).astype(np.uint8))
    dataset = build(root, 'SegmentationDataset', metainfo=dict(classes=('ground', 'thing')))
    assert set(np.unique(dataset[0]['gt_seg_map'])) == {0, 1}
    assert len(dataset.metainfo['palette']) == 2
    one = build(root, 'SegmentationDataset', metainfo=dict(classes=('ground',)))
    with pytest.raises(DatasetError, match=r'holds the id 1, but the 1 classes'):
        one[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(data_prefix=dict(PREFIX, img_path='no')), 'no: this folder of images does not exist'),
        (dict(data_prefix=dict(PREFIX, seg_map_path='no')), 'no: this folder of label maps does'),
        (dict(data_root=None, data_prefix=dict(seg_map_path='x')), 'data_prefix lacks img_path'),
        (dict(img_suffix='.jpeg'), r'images/training: holds no image \*\.jpeg'),
        (dict(ann_file='nope.txt'), r'nope\.txt: this list of images does not exist'),
        (dict(kind='SegmentationDataset'), 'needs the names of the classes'),
        (dict(metainfo=dict(classes='gone.txt')), r'gone\.txt: this class list does not exist'),
        (dict(metainfo=dict(classes=('flowre',))), "no class 'flowre'. Did you mean 'flower'?"),
        (dict(max_dropped=1.5), r'max_dropped must lie in \[0, 1\], got 1.5'),
    ],
)
def test_wrong_options_are_named(world, options, message):
    with pytest.raises(DatasetError, match=message):
        build(world, **options)


# ---------------------------------------------------------------- what there is to learn


def relabel(root, values, **options):
    """Write maps of these values side by side, a list a map; build a data set of three classes."""
    folder = root / 'annotations/training'
    for path, row in zip(sorted(folder.iterdir()), values * 5, strict=False):
        with Image.open(path) as image:
            size = image.size
        grid = np.resize(np.repeat(row, -(-size[0] // len(row))), (size[1], size[0]))
        write_map(path, grid.astype(np.uint8))
    classes = options.pop('classes', ('ground', 'tree', 'car'))
    return build(root, 'SegmentationDataset', metainfo=dict(classes=classes), **options)


TWO = dict(classes=('ground', 'thing'))
ZERO = dict(reduce_zero_label=True)


@pytest.mark.parametrize(
    ('values', 'options', 'message'),
    [
        ([[0, 255]], TWO, r"the class 'ground', one of 2.* 0, 255; 255 is ignored: write 0 and 1"),
        (
            [[0, 1]],
            TWO | ZERO,
            r"class 'ground', one of 2.*and so is 0, as reduce_zero_label is set",
        ),
        ([[1]], {}, r"all labelled pixels are of the class 'tree', one of 3\. .*begin 1;"),
        ([[255]], {}, r'no usable pixels in 5 .* of the id 255.*begin 255'),
        ([[0]], TWO | ZERO, r'no usable .*of the id 0 .reduce_zero_label'),
        ([[0, 1] + [255] * 38], {}, r'95% of its pixels would be dropped.*max_dropped=0\.9'),
        ([[0, 1, 255]], dict(max_dropped=0.2), r'33% of its pixels .*max_dropped=0\.2'),
        ([[0, 1], [0, 3]], {}, r'00000002\.png: holds the id 3, but the 3 classes'),
    ],
)
def test_labels_that_teach_nothing_are_refused(root, values, options, message):
    with pytest.raises(DatasetError, match=rf'(?s)training(: |/).*{message}'):
        relabel(root, values, **options).check_contents()


@pytest.mark.parametrize(
    ('values', 'options', 'warned'),
    [
        ([[0, 1, 2, 255]], {}, []),
        ([[0, 0, 255]], TWO | dict(classes=('only',)), []),
        ([[0, 1], [1, 1]], {}, ['1 of 3 classes never occur: car']),
        ([[0, 1, 2]], ZERO, ['1 of 3 classes never occur: car']),
        ([[0, 1, 2, 3]], ZERO, []),
    ],
)
def test_what_there_is_to_learn_is_logged(root, monkeypatch, values, options, warned):
    shown = []
    monkeypatch.setattr(tables, 'print_log', lambda text, **how: shown.append((text, how)))
    relabel(root, values, **options).check_contents()
    for text, (line, how) in zip(warned, [e for e in shown if 'level' in e[1]], strict=True):
        assert text in line
        assert how['level'] == 30
    (table,) = (text for text, how in shown if 'level' not in how)
    assert 'class statistics\nclass' in table


def test_pixels_are_counted_and_a_sample_is_called_one(root, monkeypatch):
    dataset = relabel(root, [[0, 1, 255]])
    raw = [np.array(Image.open(dataset.get_data_info(i)['seg_map_path'])) for i in range(5)]
    paths = [dataset.get_data_info(i)['seg_map_path'] for i in range(5)]
    maps = contents.LabelMaps('here', paths, ('a', 'b', 'c'))
    found = maps.survey()
    assert found.classes == [
        (name, 5 * (number < 2), sum(int((ids == number).sum()) for ids in raw))
        for number, name in enumerate('abc')
    ]
    assert sum(found.dropped.values()) == sum(int((ids == 255).sum()) for ids in raw)
    # Of several, some are read; all if what is in them would be refused.
    assert maps.survey(limit=2).name == 'here (2 of its 5 label maps)'
    for path, ids in zip(paths[:-1], raw, strict=False):
        write_map(path, ids * 0)
    assert [maps.survey(limit=n).images for n in (1, 2)] == [5, 2]
    write_map(paths[-1], raw[-1] * 0)
    assert len(maps.survey(alone=False).absent) == 2


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda path: path.write_bytes(b''), r'00000003\.jpg: this image cannot be read'),
        (lambda path: Image.new('RGB', (9, 7)).save(path), r'its image \S+00000003\.jpg 9 x 7'),
    ],
)
def test_images_are_compared_with_their_label_maps(root, spoil, words):
    spoil(root / 'images/training/ADE_train_00000003.jpg')
    with pytest.raises(DatasetError, match=words):
        build(root).check_contents()


def test_missing_files_are_named(root):
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
    names = [Path(dataset.get_data_info(i)['img_path']).name for i in range(len(dataset))]
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


def test_the_published_table_of_classes_is_read(root):
    """It has more columns, and names a class by all its synonyms."""
    table = root / 'objectInfo150.txt'
    published = [line.split('\t') for line in table.read_text().splitlines()]
    published[1] = ['1 ', '0.1576', '11664', '1172', '1', 'wall']
    published[8][-1] = 'bed '
    published[90][-1] = 'television, television receiver, television set, tv'
    table.write_text('\n'.join('\t'.join(row) for row in published))
    assert len(build(root)) == 5
    table.unlink()
    assert len(build(root)) == 5


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda lines: [line.replace('person', 'cat') for line in lines],
            r"objectInfo150.*class 13 is 'cat' where .* 'person'",
        ),
        (lambda lines: lines[:-1], 'names 149 classes where ADE20KDataset has 150'),
        (lambda lines: lines[:5] + lines[6:], 'line 6 is not that of class 5'),
        (lambda lines: lines[1:], "does not begin with a line from 'Idx' to 'Name'"),
    ],
)
def test_another_table_of_classes_is_refused(root, change, message):
    table = root / 'objectInfo150.txt'
    table.write_text('\n'.join(change(table.read_text().splitlines())))
    with pytest.raises(DatasetError, match=message):
        build(root)


def test_the_recipe_is_deterministic_and_keeps_labels(world):
    path = Path(__file__).parents[2] / 'configs/_base_/datasets/ade20k_512.py'
    pipeline = Config.fromfile(path).train_dataloader.dataset.pipeline
    small = dict(scale=(128, 32), crop_size=(32, 32))
    for step in pipeline:
        step.update({key: value for key, value in small.items() if key in step})
    dataset = build(world, pipeline=pipeline)
    alone, others = (
        [
            (image, sample.gt_sem_seg.data)
            for batch in batches(dataset, workers, count=6)
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
        ]
        for workers in (0, 2)
    )
    allowed = set(np.unique(np.stack([build(world)[i]['gt_seg_map'] for i in range(5)])))
    for (image, labels), (image2, labels2) in zip(alone, others, strict=True):
        assert torch.equal(image, image2)
        assert torch.equal(labels, labels2)
        assert image.shape[1:] == labels.shape[1:]
        assert max(image.shape[1:]) <= 32
        assert set(labels.unique().tolist()) <= allowed  # nearest: no labels in between
    assert len({image.shape for image, _ in alone}) > 1  # smaller ones are padded later
    assert len({image.float().mean().item() for image, _ in alone}) > 5


# ---------------------------------------------------------------- augmentation


def pair(name, size, greys):
    """Return a photograph and labels of as many grey values each, the second of them ignored."""
    image = photo(name, size)[..., ::-1].copy()
    regions = image[..., 1] // greys
    labels = np.where(regions == 1, 255, regions).astype(np.uint8)
    return dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'], ori_shape=labels.shape)


@pytest.mark.parametrize('share', [0.75, 1.0])
@pytest.mark.parametrize(
    ('name', 'size', 'crop', 'greys'),  # sizes: width, height
    [
        ('china', (171, 128), (128, 128), 40),
        ('cat', (128, 128), (128, 96), 128),
        ('flower', (97, 211), (64, 128), 64),
        ('coffee', (333, 64), (64, 64), 32),
        ('astronaut', (256, 512), (128, 128), 255),  # of one class: eleven tries
    ],
)
def test_the_augmentation_is_that_of_mmseg(name, size, crop, greys, share):
    scale, ratios = dict(scale=(512, 128)), dict(ratio_range=(0.5, 2.0))
    cut = dict(crop_size=crop, cat_max_ratio=share)
    rescale = dict(type='mmcv.RandomResize', resize_type='mmseg.Resize', keep_ratio=True)
    flip = dict(type='mmseg.RandomFlip', prob=0.5)
    theirs = [rescale | scale | ratios, dict(type='mmseg.RandomCrop') | cut, flip]
    theirs += [dict(type='mmseg.PhotoMetricDistortion'), dict(type='mmseg.PackSegInputs')]
    ours = [dict(type='lightvit_dense.RandomScaleCrop') | scale | ratios | cut, flip]
    ours += [
        dict(type=f'lightvit_dense.{x}') for x in ('PhotoMetricDistortion', 'PackSegmentation')
    ]
    pipelines = Compose(theirs), Compose(ours)
    for seed in range(16):
        found, drawn = [], []
        for pipeline in pipelines:
            np.random.seed(seed)
            found.append(pipeline(pair(name, size, greys)))
            drawn.append(np.random.random_sample())
        one, other = (packed['data_samples'] for packed in found)
        assert torch.equal(found[0]['inputs'], found[1]['inputs'])
        assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)
        assert one.metainfo == other.metainfo
        assert drawn[0] == drawn[1]


def test_distortion_refuses_floats():
    distort = TRANSFORMS.build(dict(type='lightvit_dense.PhotoMetricDistortion'))
    with pytest.raises(ValueError, match='needs uint8, got float32; put it before'):
        distort({'img': np.zeros((4, 4, 3), np.float32)})
