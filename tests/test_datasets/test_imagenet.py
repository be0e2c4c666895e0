"""ImageNet's layout in a folder and in an LMDB: images, labels, parts of it, mistakes, and size."""

import pickle
import tracemalloc

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset, RepeatDataset, default_collate

from lightvit_dense.datasets import DatasetError, ImageNet
from lightvit_dense.datasets.converters.packer import Packer, open_source
from lightvit_dense.datasets.imagenet_index import FolderTree
from lightvit_dense.datasets.lmdb_format import pack_keys, unpack_keys
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.datasets.packed import PackSettings
from lightvit_dense.errors import UserError
from tests.helpers import data_sets
from tests.helpers.data_sets import batches, listed, write_image

WNIDS = ['n01440764', 'n01443537', 'n0144']  # not in order, and one begins another
FISH, CAT = 'train/n01443537/n01443537_11.JPEG', 'train/n0144/n0144_10.JPEG'
LOAD = [
    dict(type='lightvit_dense.LoadImage', color='rgb'),
    dict(type='lightvit_dense.RandomResizedCrop', size=16),
]
FAST = [dict(type='lightvit_dense.LoadRandomResizedCrop', size=16)]
SOURCES = pytest.mark.parametrize('source', ['folder', 'lmdb', 'packed'])


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Three classes of 4, 3 and 2 images to train, a flat folder of 3 to validate, and packed."""
    root = tmp_path_factory.mktemp('imagenet')
    for label, wnid in enumerate(WNIDS):
        for number in range(4 - label):
            write_image(root / f'train/{wnid}/{wnid}_{10 + number}.JPEG', seed=10 * label + number)
    for number in range(3):
        write_image(root / f'val/ILSVRC2012_val_{number:08d}.JPEG', seed=100 + number)
    lists = {
        'val.txt': '# name and label\nILSVRC2012_val_00000001.JPEG 2\n'
        'ILSVRC2012_val_00000000.JPEG n0144\n',
        'classes.txt': 'n0144 a fish\nn01440764 tench\nn01443537 goldfish\n',
        'twice.txt': 'n0144\nn01440764\nn0144\n',
        'void.txt': '\n',
    }
    for name, text in lists.items():
        (root / name).write_text(text)
    pack_all(root)
    return root


def pack_all(root):
    write_lmdb(root, root / 'imagenet.lmdb')
    settings = PackSettings('jpeg', exif=True, per_shard=5)  # they are small, and stay as they are
    Packer(*open_source(root), root / 'imagenet.packed', settings).pack()


def build(root, **options):
    return data_sets.build('ImageNet', root, **options)


@SOURCES
def test_labels_are_the_places_of_the_sorted_folders(world, source):
    dataset = build(world, source=source)
    assert dataset.metainfo['classes'] == ('n0144', 'n01440764', 'n01443537')
    assert listed(dataset) == [
        *[(f'train/n0144/n0144_{10 + i}.JPEG', 0) for i in range(2)],
        *[(f'train/n01440764/n01440764_{10 + i}.JPEG', 1) for i in range(4)],
        *[(f'train/n01443537/n01443537_{10 + i}.JPEG', 2) for i in range(3)],
    ]
    assert dataset.labels().tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]
    last = dataset.get_data_info(-1)
    assert (last['sample_idx'], last['img_path']) == (8, 'train/n01443537/n01443537_12.JPEG')
    assert last['storage'].read(CAT) == (world / CAT).read_bytes()


@pytest.mark.parametrize('load', [LOAD, FAST])
def test_all_sources_give_the_same_batches_with_workers(world, load):
    pipeline, found = [*load, dict(type='lightvit_dense.PackImage')], []
    for source, workers in (('folder', 0), ('lmdb', 2), ('packed', 2)):
        dataset = pickle.loads(pickle.dumps(build(world, source=source, pipeline=pipeline)))
        found.append(batches(dataset, workers, 3, 3, collate_fn=default_collate))
    for ours, *others in zip(*found, strict=True):
        labels = [[int(s.gt_label) for s in batch['data_samples']] for batch in (ours, *others)]
        assert labels == [labels[0]] * 3
        assert all(ours['inputs'].equal(theirs['inputs']) for theirs in others)


@SOURCES
def test_without_labels_images_come_in_the_order_of_whole_paths(world, tmp_path, source):
    paths = ['a/1.jpg', 'a-b/2.jpg', 'a.b/3.jpg', 'aé/4.jpg', 'a/b/5.jpg', 'a/b-.jpg', 'a0/6.JPG']
    for path in paths:
        write_image(tmp_path / path)
    pack_all(tmp_path)
    unlabelled = dict(source=source, with_labels=False)
    assert listed(build(tmp_path, img_dir='', **unlabelled)) == [(p, None) for p in sorted(paths)]
    assert len(build(world, img_dir='val', **unlabelled)) == 3
    assert len(build(world, img_dir='', **unlabelled)) == 12


@SOURCES
@pytest.mark.parametrize('classes', ['classes.txt', 'train'])
def test_a_flat_folder_with_a_list_of_labels(world, source, classes):
    dataset = build(world, source=source, img_dir='val', ann_file='val.txt', classes=classes)
    names = ('val/ILSVRC2012_val_00000001.JPEG', 'val/ILSVRC2012_val_00000000.JPEG')
    assert listed(dataset) == list(zip(names, (2, 0), strict=True))
    assert dataset.metainfo['classes'] == ('n0144', 'n01440764', 'n01443537')


@SOURCES
@pytest.mark.parametrize(
    'text',
    [
        'n01443537_11.JPEG\nn0144_10.JPEG\n',  # 1% and 10%
        f'{FISH} 2\n{CAT} 0',  # LT
        'n01443537/n01443537_11.JPEG n01443537\nn0144/n0144_10.JPEG n0144',
        'n01443537/n01443537_11.JPEG\nn0144/n0144_10.JPEG',
    ],
)
def test_lists_of_subsets(world, tmp_path, source, text):
    (tmp_path / 'list.txt').write_text(text)
    options = dict(source=source, ann_file=str(tmp_path / 'list.txt'))
    assert listed(build(world, **options)) == [(FISH, 2), (CAT, 0)]
    assert listed(build(world, with_labels=False, **options)) == [(FISH, None), (CAT, None)]


def test_classes_may_come_in_another_order(world):
    classes = ['n01443537', 'n0144', 'n01440764']
    assert build(world, classes=classes).labels().tolist() == [1, 1, 2, 2, 2, 2, 0, 0, 0]


def test_indices_subsets_and_wrappers(world):
    whole = listed(build(world))
    assert listed(build(world, indices=4)) == whole[:4]
    assert listed(build(world, indices=-2)) == whole[-2:]
    assert listed(build(world, indices=[5, 0])) == [whole[5], whole[0]]
    dataset = build(world, lazy_init=True)
    assert len(dataset) == 9
    assert listed(dataset.get_subset([2, 8])) == [whole[2], whole[8]]
    assert len(RepeatDataset(dataset, 3)) == 27
    assert len(ClassBalancedDataset(dataset, oversample_thr=0.5)) > 9


VAL = dict(img_dir='val')


@SOURCES
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(classes=['n0144', 'n01440764', 'n9']),
            r'1 \(n9\) of the 3 classes have no.*1 \(n01443537\) of',
        ),
        (
            dict(classes=['n0144', 'n01440764']),
            r'0 of the 2 classes have no folder; 1 \(n01443537\) of the',
        ),
        (dict(classes='twice.txt'), 'twice.txt: this class list names .n0144. twice'),
        (dict(classes='void.txt'), 'void.txt: this class list is empty'),
        (dict(classes='none.txt'), 'none.txt.*is neither a class list nor a folder with class'),
        (dict(classes='val'), "classes='val' is neither a class list nor a folder with class fol"),
        (dict(VAL, classes='train'), r'3 \(n0144, n01440764, n01443537\) of the 3 classes'),
        (dict(VAL, classes='classes.txt'), 'the class list does not match the folders'),
        (dict(VAL, ann_file='val.txt'), 'has no class folders, so the classes are unknown'),
        (dict(ann_file='none.txt'), 'this list of images does not exist'),
        *[(dict(fraction=f), r'fraction must lie in \(0, 1\]') for f in (0, -0.1, 1.5)],
    ],
)
def test_what_does_not_match_or_is_not_there(world, source, options, message):
    with pytest.raises(DatasetError, match=message):
        build(world, source=source, **options)


@SOURCES
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (f'{CAT} 3', r'label 3, out of the range of 3 classes \(0\.\.2\)'),
        (f'{CAT} -1', r'label -1, out of the range'),
        (f'{CAT} cat', "label 'cat', which is neither a number nor a class"),
        ('train/n0144/n0144_99.JPEG 0', r'1 of 1 listed.*not in .*such as train/n0144/n0144_99'),
        ('n0144_99.JPEG', r'1 of 1 listed images are not in'),
        ('n5_1.JPEG', "has no label, and 'n5' is no class"),
        ('train/n0144/n0144_10.png.txt 0', 'is neither "name" nor "name label"'),
        ('', 'this list of images is empty'),
        (f'{CAT} 1', 'lies in the folder of class 0.*another order of the classes'),
    ],
)
def test_broken_lists(world, tmp_path, source, text, message):
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises(DatasetError, match=rf'list\.txt.*{message}'):
        build(world, source=source, ann_file=str(tmp_path / 'list.txt'))


def test_lists_of_any_editor_are_read(world, tmp_path):
    """Byte order mark, carriage returns, blank lines, blanks at the ends."""
    names = [b'n0144', b'n01440764', b'n01443537']
    (tmp_path / 'classes.txt').write_bytes(b'\xef\xbb\xbf' + b' \r\n\r\n'.join(names) + b'\r\n')
    (tmp_path / 'list.txt').write_bytes(f'\ufeff{CAT} 0  \r\n\r\n'.encode())
    lists = dict(classes=str(tmp_path / 'classes.txt'), ann_file=str(tmp_path / 'list.txt'))
    assert len(build(world, **lists)) == 1
    (tmp_path / 'list.txt').write_bytes(f'{CAT} 0\nm\xfcll.JPEG 0\n'.encode('latin1'))
    with pytest.raises(UserError, match=r'list\.txt, line 2: is not UTF-8 text'):
        build(world, **lists)


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r'image folder does not exist.*LIGHTVIT_DATA'):
        build(tmp_path)
    with pytest.raises(DatasetError, match=r'this LMDB does not exist.*make_lmdb\.py'):
        build(tmp_path, source='lmdb')
    with pytest.raises(ValueError, match="source must be 'folder', 'lmdb' or 'packed', got 'zip'"):
        build(tmp_path, source='zip')


def test_a_class_without_an_image(tmp_path):
    write_image(tmp_path / 'train/a/1.JPEG')
    (tmp_path / 'train/b').mkdir()
    with pytest.raises(DatasetError, match='the class folder b holds no image'):
        build(tmp_path)
    write_lmdb(tmp_path, tmp_path / 'imagenet.lmdb')
    with pytest.raises(DatasetError, match=r'1 \(b\) of the 2 classes have no folder'):
        build(tmp_path, source='lmdb', classes=['a', 'b'])


@SOURCES
def test_a_fraction_is_balanced_nested_and_seeded(world, source):
    def part(fraction, **options):
        return listed(build(world, source=source, fraction=fraction, **options))

    half = part(0.5)
    assert [label for _, label in half] == [0, 1, 1, 2, 2]  # of 2, 4 and 3, rounded
    assert [label for _, label in part(0.01)] == [0, 1, 2]  # one at least
    assert set(part(0.01)) < set(half) < set(part(1.0))
    assert half == part(0.5)
    assert any(part(0.5, subset_seed=seed) != half for seed in range(1, 5))
    unlabelled = part(0.5, with_labels=False)
    assert sorted(key for key, _ in unlabelled) == sorted(key for key, _ in half)
    assert part(0.5, indices=-2) == half[-2:]
    assert len(part(0.3, img_dir='val', with_labels=False)) == 1


@pytest.fixture(scope='module')
def numbers(tmp_path_factory):
    """Twelve folders named by labels, as in ImageNet-V2."""
    root = tmp_path_factory.mktemp('v2')
    for label in range(12):
        write_image(root / f'v2/{label}/{label:03d}abc.jpeg')
    (root / 'classes.txt').write_text(''.join(f'n{number}\n' for number in range(20, 32)))
    (root / 'long.txt').write_text(''.join(f'n{number}\n' for number in range(20, 33)))
    pack_all(root)
    return root


@SOURCES
def test_folders_named_by_labels(numbers, source, tmp_path):
    options = dict(img_dir='v2', source=source)
    dataset = build(numbers, folders='labels', classes='classes.txt', **options)
    labels = {f'v2/{label}/{label:03d}abc.jpeg': label for label in range(12)}
    assert dict(listed(dataset)) == labels
    assert dataset.metainfo['classes'] == tuple(f'n{number}' for number in range(20, 32))
    alone = build(numbers, folders='labels', **options)
    assert dict(listed(alone)) == labels
    assert alone.metainfo['classes'] == tuple(map(str, range(12)))
    as_names = [str(number) for number in range(12)]  # an order that was given on purpose
    assert build(numbers, classes=as_names, **options).labels().max() == 11
    for name in ('0', '1', 'x'):
        write_image(tmp_path / f'train/{name}/1.JPEG')
    with pytest.raises(DatasetError, match=r'1 \(x\) of the 3 folders are none; 1 \(2\) of the'):
        build(tmp_path, folders='labels')


@SOURCES
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({}, r"order as text differs.*folders='labels'"),
        (dict(classes='classes.txt'), r"12 .* of the folders are no class.*folders='labels'"),
        (
            dict(classes='long.txt', folders='labels'),
            r'0 of the 12 folders are none; 1 \(12\) of the labels',
        ),
        (dict(folders='numbers'), "folders must be 'names' or 'labels', got 'numbers'"),
        (dict(folders='labels', ann_file='x'), "folders='labels' goes with all images, not with"),
    ],
)
def test_numbers_are_not_sorted_as_text_unnoticed(numbers, source, options, message):
    with pytest.raises((DatasetError, ValueError), match=message):
        build(numbers, img_dir='v2', source=source, **options)


# ---------------------------------------------------------------- as large as ImageNet-21k

COUNT = 100_000


@pytest.fixture(scope='module')
def many():
    """Paths of 650 images a class, as ImageNet-21k has."""
    places = ((10_000_000 + number // 650, number % 650) for number in range(COUNT))
    return [f'train/n{synset}/n{synset}_{number}.JPEG' for synset, number in places]


def peak(function):
    """Return the bytes that walking over an iterable takes at most."""
    tracemalloc.start()
    try:
        for _ in function():
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_image_takes_as_many_bytes_as_its_name_and_twelve_and_workers_get_two_arrays(many):
    """At 14.2 million that is 0.6 GB; str objects in a list would be 1.4 GB without a label."""
    indexed = ImageNet('data', with_labels=False, lazy_init=True)
    indexed.pack((name, -1) for name in many)
    indexed._fully_initialized = True
    sizes = [indexed.data_bytes.nbytes, indexed.data_address.nbytes]
    assert sum(sizes) == sum(map(len, many)) + 12 * COUNT
    assert (indexed.entry(COUNT - 1)[0], len(indexed)) == (many[-1], COUNT)
    buffers = []
    rest = pickle.dumps(indexed, protocol=5, buffer_callback=buffers.append)
    assert len(rest) < 5000
    assert sorted(buffer.raw().nbytes for buffer in buffers) == sorted(sizes)
    again = pickle.loads(rest, buffers=buffers)
    assert again.entry(650) == indexed.entry(650)
    assert np.shares_memory(again.data_bytes, indexed.data_bytes)


def test_listing_a_folder_holds_one_class_at_a_time(tmp_path):
    peaks = []
    for classes in (2, 20):
        for number in range(classes):
            folder = tmp_path / f'{classes}/train/n{number:08d}'
            folder.mkdir(parents=True)
            for image in range(200):
                (folder / f'n{number:08d}_{image}.JPEG').touch()
        tree = FolderTree(str(tmp_path / str(classes)), 'train')
        peaks.append(peak(tree.keys))
        assert len(list(tree.keys())) == 200 * classes
    assert peaks[1] < 1.2 * peaks[0]


def test_listing_an_lmdb_unpacks_piece_by_piece(many):
    packed = pack_keys(many)
    assert list(unpack_keys(packed, 999)) == list(unpack_keys(packed)) == many
    assert peak(lambda: unpack_keys(packed, 10_000)) < 1_000_000  # the list: 10 MB
    assert list(unpack_keys(b'')) == list(unpack_keys(pack_keys([]))) == []
    with pytest.raises(DatasetError, match='list of files in the LMDB is damaged'):
        list(unpack_keys(packed[:-9]))
