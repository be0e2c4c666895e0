import pickle

import cv2
import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset, RepeatDataset, default_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from lightvit_dense.datasets import DatasetError, ImageFiles, ImageNet, SeededSampler
from lightvit_dense.datasets.lmdb_writer import write_lmdb

WNIDS = ['n01440764', 'n01443537', 'n0144']  # not in order, and one begins another
PIPELINE = [
    dict(type='lightvit_dense.LoadImage', color='rgb'),
    dict(type='lightvit_dense.RandomResizedCrop', size=16),
    dict(type='lightvit_dense.PackImage'),
]

FAST = [dict(type='lightvit_dense.LoadRandomResizedCrop', size=16)]


def write_image(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(value).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path.with_suffix('.jpg')), image)
    path.with_suffix('.jpg').rename(path)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Three classes of 4, 3 and 2 images to train, a flat folder of 3 to validate, and an LMDB."""
    root = tmp_path_factory.mktemp('imagenet')
    for label, wnid in enumerate(WNIDS):
        for number in range(4 - label):
            write_image(root / f'train/{wnid}/{wnid}_{10 + number}.JPEG', 10 * label + number)
    for number in range(3):
        write_image(root / f'val/ILSVRC2012_val_{number:08d}.JPEG', 100 + number)
    (root / 'val.txt').write_text(
        '# name and label\nILSVRC2012_val_00000001.JPEG 2\nILSVRC2012_val_00000000.JPEG n0144\n'
    )
    (root / 'classes.txt').write_text('n0144 a fish\nn01440764 tench\nn01443537 goldfish\n')
    write_lmdb(root, root / 'imagenet.lmdb')
    return root


def build(world, **kwargs):
    return DATASETS.build(dict(type='lightvit_dense.ImageNet', data_root=str(world), **kwargs))


def write_list(tmp_path, text):
    path = tmp_path / 'list.txt'
    path.write_text(text)
    return str(path)


def listed(dataset):
    infos = [dataset.get_data_info(place) for place in range(len(dataset))]
    return [(info['img_path'], info.get('gt_label')) for info in infos]


SOURCES = pytest.mark.parametrize('source', ['folder', 'lmdb'])


@SOURCES
def test_labels_are_the_places_of_the_sorted_folders(world, source):
    dataset = build(world, source=source)
    assert dataset.metainfo['classes'] == ('n0144', 'n01440764', 'n01443537')
    assert listed(dataset) == [
        ('train/n0144/n0144_10.JPEG', 0),
        ('train/n0144/n0144_11.JPEG', 0),
        *[(f'train/n01440764/n01440764_{10 + i}.JPEG', 1) for i in range(4)],
        *[(f'train/n01443537/n01443537_{10 + i}.JPEG', 2) for i in range(3)],
    ]
    np.testing.assert_array_equal(dataset.labels(), [0, 0, 1, 1, 1, 1, 2, 2, 2])
    assert dataset.get_data_info(-1)['sample_idx'] == 8
    assert dataset.get_data_info(-1)['img_path'] == 'train/n01443537/n01443537_12.JPEG'
    key = dataset.get_data_info(0)['img_path']
    assert dataset.get_data_info(0)['storage'].read(key) == (world / key).read_bytes()


@pytest.mark.parametrize('load', [PIPELINE[:2], FAST])
def test_both_sources_give_the_same_batches_with_workers(world, load):
    batches, pipeline = [], [*load, PIPELINE[2]]
    for source, workers in (('folder', 0), ('lmdb', 2)):
        dataset = pickle.loads(pickle.dumps(build(world, source=source, pipeline=pipeline)))
        sampler = SeededSampler(dataset, seed=3)
        loader = DataLoader(
            dataset, 3, sampler=sampler, num_workers=workers, collate_fn=default_collate
        )
        batches.append(list(loader))
    assert len(batches[0]) == 3
    for ours, theirs in zip(*batches, strict=True):
        assert ours['inputs'].equal(theirs['inputs'])
        labels = [[int(s.gt_label) for s in batch['data_samples']] for batch in (ours, theirs)]
        assert labels[0] == labels[1]


@SOURCES
def test_without_labels_it_is_image_files(world, source):
    dataset = build(world, source=source, with_labels=False)
    files = ImageFiles(data_root=str(world), img_dir='train')
    root = len(str(world)) + 1
    expected = [files.get_data_info(place)['img_path'][root:] for place in range(len(files))]
    assert listed(dataset) == [(path, None) for path in expected]
    assert len(build(world, source=source, img_dir='val', with_labels=False)) == 3
    assert len(build(world, source=source, img_dir='', with_labels=False)) == 12


@SOURCES
def test_a_flat_folder_with_a_list_of_labels(world, source):
    dataset = build(world, source=source, img_dir='val', ann_file='val.txt', classes='classes.txt')
    assert listed(dataset) == [
        ('val/ILSVRC2012_val_00000001.JPEG', 2),
        ('val/ILSVRC2012_val_00000000.JPEG', 0),
    ]


@SOURCES
@pytest.mark.parametrize(
    ('text', 'labels'),
    [
        ('n01443537_11.JPEG\nn0144_10.JPEG\n', [2, 0]),  # 1% and 10%
        ('train/n01443537/n01443537_11.JPEG 2\ntrain/n0144/n0144_10.JPEG 0', [2, 0]),  # LT
        ('n01443537/n01443537_11.JPEG n01443537\nn0144/n0144_10.JPEG n0144', [2, 0]),
        ('n01443537/n01443537_11.JPEG\nn0144/n0144_10.JPEG', [2, 0]),
    ],
)
def test_lists_of_subsets(world, tmp_path, source, text, labels):
    path = write_list(tmp_path, text)
    keys = ['train/n01443537/n01443537_11.JPEG', 'train/n0144/n0144_10.JPEG']
    dataset = build(world, source=source, ann_file=path)
    assert listed(dataset) == list(zip(keys, labels, strict=True))
    dataset = build(world, source=source, ann_file=path, with_labels=False)
    assert listed(dataset) == [(key, None) for key in keys]


def test_classes_may_come_in_another_order(world, tmp_path):
    classes = ['n01443537', 'n0144', 'n01440764']
    assert build(world, classes=classes).labels().tolist() == [1, 1, 2, 2, 2, 2, 0, 0, 0]
    path = write_list(tmp_path, 'train/n0144/n0144_10.JPEG 0')
    with pytest.raises(DatasetError, match=r'folder of class 1.*another order of the classes'):
        build(world, classes=classes, ann_file=path)


@SOURCES
def test_classes_may_be_those_of_the_training_folder(world, source):
    kwargs = dict(source=source, img_dir='val', ann_file='val.txt', classes='train')
    dataset = build(world, **kwargs)
    assert dataset.metainfo['classes'] == ('n0144', 'n01440764', 'n01443537')
    assert dataset.labels().tolist() == [2, 0]
    with pytest.raises(DatasetError, match=r'3 \(n0144, n01440764, n01443537\) of the 3 classes'):
        build(world, **kwargs | dict(ann_file=''))


def test_indices_subsets_and_wrappers(world):
    whole = listed(build(world))
    assert listed(build(world, indices=4)) == whole[:4]
    assert listed(build(world, indices=-2)) == whole[-2:]
    assert listed(build(world, indices=[5, 0])) == [whole[5], whole[0]]
    dataset = build(world, pipeline=PIPELINE)
    assert listed(dataset.get_subset([2, 8])) == [whole[2], whole[8]]
    assert len(RepeatDataset(dataset, 3)) == 27
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.5)
    assert len(balanced) > 9
    lazy = build(world, lazy_init=True)
    assert len(lazy) == 9


def test_a_test_set_must_load(world):
    assert build(world, test_mode=True).get_data_info(0)['must_load']
    assert 'must_load' not in build(world).get_data_info(0)


@SOURCES
@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (['n0144', 'n01440764', 'n9'], r'1 \(n9\) of the 3 classes have no.*1 \(n01443537\) of'),
        (['n0144', 'n01440764'], r'0 of the 2 classes have no folder; 1 \(n01443537\) of the'),
        ('twice.txt', 'twice.txt: this class list names .n0144. twice'),
        ('void.txt', 'void.txt: this class list is empty'),
        ('none.txt', 'none.txt.*is neither a class list nor a folder with class folders'),
        ('val', "classes='val' is neither a class list nor a folder with class folders"),
    ],
)
def test_classes_that_do_not_match(world, source, classes, message):
    (world / 'twice.txt').write_text('n0144\nn01440764\nn0144\n')
    (world / 'void.txt').write_text('\n')
    with pytest.raises(DatasetError, match=message):
        build(world, source=source, classes=classes)


@SOURCES
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('train/n0144/n0144_10.JPEG 3', r'label 3, out of the range of 3 classes \(0\.\.2\)'),
        ('train/n0144/n0144_10.JPEG -1', r'label -1, out of the range'),
        ('train/n0144/n0144_10.JPEG cat', "label 'cat', which is neither a number nor a class"),
        ('train/n0144/n0144_99.JPEG 0', r'1 of 1 listed.*not in .*such as train/n0144/n0144_99'),
        ('n0144_99.JPEG', r'1 of 1 listed images are not in'),
        ('n5_1.JPEG', "has no label, and 'n5' is no class"),
        ('train/n0144/n0144_10.png.txt 0', 'is neither "name" nor "name label"'),
        ('', 'this list of images is empty'),
        ('train/n0144/n0144_10.JPEG 1', r'lies in the folder of class 0'),
    ],
)
def test_broken_lists(world, tmp_path, source, text, message):
    with pytest.raises(DatasetError, match=message) as caught:
        build(world, source=source, ann_file=write_list(tmp_path, text))
    assert 'list.txt' in str(caught.value)


def test_what_is_not_there(world, tmp_path):
    with pytest.raises(DatasetError, match=r'image folder does not exist.*LIGHTVIT_DATA'):
        build(tmp_path)
    with pytest.raises(DatasetError, match=r'this LMDB does not exist.*make_lmdb\.py'):
        build(tmp_path, source='lmdb')
    with pytest.raises(DatasetError, match='this list of images does not exist'):
        build(world, ann_file='none.txt')
    with pytest.raises(DatasetError, match='has no class folders, so the classes are unknown'):
        build(world, img_dir='val', ann_file='val.txt')
    with pytest.raises(DatasetError, match='the class list does not match the folders'):
        build(world, img_dir='val', classes='classes.txt')
    with pytest.raises(ValueError, match="source must be 'folder' or 'lmdb', got 'zip'"):
        build(world, source='zip')
    for source in ('folder', 'lmdb'):
        with pytest.raises(DatasetError, match=r'holds no image with an ending of \.png'):
            build(world, source=source, with_labels=False, extensions=['.png'])


def test_a_class_without_an_image(tmp_path):
    write_image(tmp_path / 'train/a/1.JPEG')
    (tmp_path / 'train/b').mkdir()
    with pytest.raises(DatasetError, match='the class folder b holds no image'):
        build(tmp_path)
    write_lmdb(tmp_path, tmp_path / 'imagenet.lmdb')
    with pytest.raises(DatasetError, match=r'1 \(b\) of the 2 classes have no folder'):
        build(tmp_path, source='lmdb', classes=['a', 'b'])


def test_an_entry_stays_small(world):
    dataset = build(world)
    assert isinstance(dataset, ImageNet)
    longest = max(len(key) for key, _ in listed(dataset))
    assert len(dataset.data_bytes) <= 9 * (longest + 4)


@SOURCES
def test_a_fraction_is_balanced_nested_and_seeded(world, source):
    whole = listed(build(world, source=source))
    half = listed(build(world, source=source, fraction=0.5))
    assert [label for _, label in half] == [0, 1, 1, 2, 2]  # of 2, 4 and 3, rounded
    assert set(half) < set(whole)
    assert set(listed(build(world, source=source, fraction=0.01))) < set(half)
    assert half == listed(build(world, source=source, fraction=0.5))
    others = [listed(build(world, fraction=0.5, subset_seed=seed)) for seed in range(1, 5)]
    assert any(other != half for other in others)
    unlabelled = build(world, source=source, fraction=0.5, with_labels=False)
    assert sorted(key for key, _ in listed(unlabelled)) == sorted(key for key, _ in half)
    assert listed(build(world, source=source, fraction=0.5, indices=-2)) == half[-2:]
    flat = build(world, source=source, img_dir='val', with_labels=False, fraction=0.3)
    assert len(flat) == 1
    for fraction in (0, -0.1, 1.5):
        with pytest.raises(DatasetError, match=r'fraction must lie in \(0, 1\]'):
            build(world, fraction=fraction)


@pytest.fixture(scope='module')
def numbers(tmp_path_factory):
    """Twelve folders named by labels, as in ImageNet-V2."""
    root = tmp_path_factory.mktemp('v2')
    for label in range(12):
        write_image(root / f'v2/{label}/{label:03d}abc.jpeg', label)
    (root / 'classes.txt').write_text(''.join(f'n{number}\n' for number in range(20, 32)))
    (root / 'long.txt').write_text(''.join(f'n{number}\n' for number in range(20, 33)))
    write_lmdb(root, root / 'imagenet.lmdb')
    return root


@SOURCES
def test_folders_named_by_labels(numbers, source):
    dataset = build(numbers, img_dir='v2', source=source, folders='labels', classes='classes.txt')
    labels = dict(listed(dataset))
    assert labels == {f'v2/{label}/{label:03d}abc.jpeg': label for label in range(12)}
    assert dataset.metainfo['classes'] == tuple(f'n{number}' for number in range(20, 32))
    alone = build(numbers, img_dir='v2', source=source, folders='labels')
    assert dict(listed(alone)) == labels
    assert alone.metainfo['classes'] == tuple(map(str, range(12)))


@SOURCES
def test_numbers_are_not_sorted_as_text_unnoticed(numbers, source, tmp_path):
    with pytest.raises(DatasetError, match=r"order as text differs.*folders='labels'"):
        build(numbers, img_dir='v2', source=source)
    with pytest.raises(DatasetError, match=r"12 .* of the folders are no class.*folders='labels'"):
        build(numbers, img_dir='v2', source=source, classes='classes.txt')
    with pytest.raises(DatasetError, match=r'0 of the 12 folders are none; 1 \(12\) of the labels'):
        build(numbers, img_dir='v2', source=source, folders='labels', classes='long.txt')
    with pytest.raises(ValueError, match="folders must be 'names' or 'labels', got 'numbers'"):
        build(numbers, img_dir='v2', folders='numbers')
    as_names = [str(number) for number in range(12)]  # an order that was given on purpose
    assert build(numbers, img_dir='v2', source=source, classes=as_names).labels().max() == 11
    for name in ('0', '1', 'x'):
        write_image(tmp_path / f'train/{name}/1.JPEG')
    with pytest.raises(DatasetError, match=r'1 \(x\) of the 3 folders are none; 1 \(2\) of the'):
        build(tmp_path, folders='labels')
