"""tools/dataset_converters/ as users run them, and the subsets of data that they list."""

import json
import re
from functools import partial

import cv2
import numpy as np
import pytest

from lightvit_dense.datasets import DatasetError, ImageNet
from lightvit_dense.datasets.storage import LmdbStorage
from lightvit_dense.datasets.subsets import long_tail_sizes, sized_subset
from tests.helpers.data_sets import write_image
from tests.helpers.tools import call_tool, start_tool
from tests.helpers.toy_world import build


def convert(name, *words, **options):
    return call_tool(f'dataset_converters/{name}.py', *words, **options)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('check_dataset coko .', "Did you mean 'coco'?"),
        ('check_dataset coco . --splits test', "coco names 'test'.*there are train, val"),
        ('check_dataset coco . --samples -1', '--samples must not be negative'),
        ('make_lmdb only-one', 'give SOURCE and LMDB to write, or --verify LMDB'),
        ('make_lmdb --verify a b', 'give SOURCE and LMDB to write, or --verify LMDB'),
        ('make_lmdb a b --readers 0', 'at least one thread'),
        ('make_lmdb --verify --no-verify b', 'exclude each other'),
        ('make_lmdb nowhere b', 'nowhere: this folder does not exist'),
        ('make_small_sets --out . --sets digit', "--sets names 'digit'.*Did you mean 'digits'"),
        ('make_small_sets --out . --source digits', 'write SET=PATH'),
        ('make_small_sets --out . --source digits=/nowhere', '/nowhere does not exist'),
        ('pack_images only-one', 'give SOURCE and PACKED to pack images'),
        ('pack_images a b --workers 0', '--workers have to be positive'),
        ('pack_images nowhere b', 'nowhere: this image folder does not exist'),
        ('make_subset . a.txt --fraction 0.2 --img-dir none', 'does not exist'),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, convert(*words.split(), status=2))
    assert list(tmp_path.iterdir()) == []


def test_a_world_is_checked(tmp_path, monkeypatch):
    root = build(tmp_path / 'world', seed=6, image_size=48, train=3, portraits=6).root
    report = tmp_path / 'out/report.json'
    words = ('coco', root / 'coco', '--full', '--json', report)
    done = start_tool('dataset_converters/check_dataset.py', *words)
    assert done.returncode == 0, done.stderr
    assert 'opening images of train2017' in done.stderr
    result = json.loads(report.read_text())
    assert result['ok']
    assert result['rows'][0] == dict(
        part='images of train2017', found=3, expected=118287, opened=3, state='a subset'
    )
    monkeypatch.setenv('LIGHTVIT_DATA', str(root))
    assert 'it is a subset' in convert('check_dataset', 'coco')  # at $LIGHTVIT_DATA/coco
    (root / 'coco/val2017/000000000001.jpg').unlink()
    convert('check_dataset', 'coco', root / 'coco', '--splits', 'train')
    out = convert('check_dataset', 'coco', root / 'coco', status=1)
    assert '1 of 2 images that the annotations list (000000000001.jpg)' in out
    assert '1 problem(s)' in out
    assert 'ADEChallengeData2016.zip' in convert('check_dataset', 'ade20k', status=1)


def test_images_are_packed_and_verified(tmp_path):
    source, target = tmp_path / 'source', tmp_path / 'images.packed'
    for number in range(4):
        write_image(source / f'{number}.jpg', (40, 30 + 10 * number), number)
    (source / '3.jpg').write_bytes(b'')
    words = (source, target, '--short-side', 35, '--max-bad', 1)
    out = convert('pack_images', *words)
    assert re.search(r'packing about .*e-05 GB, and .* GB are free: done', out)
    assert re.search(
        r'4 images in 1 shards, .*\n1 .*below 35 px.*\n1 unreadable\n  3\.jpg: zero', out
    )
    for more in (words, [target]):
        assert 'every file matches its SHA-256' in convert('pack_images', '--verify', *more)
    assert 'begun with other' in convert('pack_images', source, target, '--exif', status=2)


def test_lmdb_is_written_and_verified(tmp_path):
    source, target = tmp_path / 'source', tmp_path / 'data.lmdb'
    for number in range(5):
        path = source / f'{number % 2}/{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100 + number))
    (source / 'list.txt').write_text('list')
    out = convert('make_lmdb', source, target)
    for part in ('5 files, 510 bytes', '5 written, 0 were there already', '[2/2] verifying: done'):
        assert part in out
    assert 'every file matches its SHA-256' in out
    assert len(LmdbStorage(target).read('1/3.jpg')) == 103

    more = tmp_path / 'more.lmdb'
    words = ['--extensions', '.jpg', '.txt', '--no-verify']
    out = convert('make_lmdb', source, more, *words)
    assert '6 files, 514 bytes' in out
    assert 'not verified' in out
    assert 'every file matches' in convert('make_lmdb', '--verify', more)
    out = convert('make_lmdb', source, more, status=2)
    assert re.search(r'error: .*list\.txt.*Give the same source and extensions', out, re.S)


def test_small_sets_are_written_and_what_is_missing_is_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    words = ['--sets', 'fashion-mnist', 'digits', '--source', f'fashion-mnist={tmp_path / "empty"}']
    out = convert('make_small_sets', '--out', tmp_path, *words, '--lmdb', status=2)
    assert 'fashion-mnist: ' in out
    assert 'apt-get download dataset-fashion-mnist' in out
    assert '1438 + 359 images of 10 classes, written' in out
    dataset = partial(ImageNet, str(tmp_path / 'digits'), 'val', classes='classes.txt')
    folder, lmdb = dataset(), dataset(source='lmdb')
    assert [lmdb.entry(i) for i in range(359)] == [folder.entry(i) for i in range(359)]
    out = convert('make_small_sets', '--out', tmp_path, '--sets', 'digits')
    assert 'kept, it is whole' in out


def test_a_toy_world_is_built_counted_previewed_and_kept(tmp_path):
    root, preview = tmp_path / 'world', tmp_path / 'sheets/sheet.png'
    args = ['--out', root, '--image-size', 64, '--train', 4, '--val', 3, '--unlabeled', 5]
    args += ['--seed', 7, '--workers', 1, '--classes', 'soap', 'book']
    out = convert('make_toyworld', *args, '--preview', preview)
    assert re.search('Building the toy world.*Built', out, re.S)  # the progress bar first
    for split, count in (('train', 4), ('val', 3), ('unlabeled', 5)):
        assert len(list((root / f'coco/{split}2017').iterdir())) == count
    data = json.loads((root / 'coco/annotations/instances_train2017.json').read_text())
    assert [c['name'] for c in data['categories']] == ['soap', 'book']
    row = next(line for line in out.splitlines() if '│ train' in line)
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    assert cells[1:3] == ['4', str(len(data['annotations']))]
    soaps = sum(note['category_id'] == 1 for note in data['annotations'])
    assert f'train: soap {soaps}, book {len(data["annotations"]) - soaps}' in out
    assert cv2.imread(str(preview)).shape[1] == 3 * 244 - 4
    assert convert('make_toyworld', *args, '--quiet').startswith('Kept')
    (root / 'mine.txt').write_text('mine')
    assert 'mine.txt' in convert('make_toyworld', *args, '--quiet', status=2)


def test_stamps_are_asked_for_where_they_cannot_be_fetched(tmp_path, monkeypatch):
    for variable in ('PATH', 'LIGHTVIT_DATA'):
        monkeypatch.setenv(variable, str(tmp_path))
    words = ['make_toyworld', '--objects', 'stamps', '--out', tmp_path / 'world']
    assert 'apt-get is not installed' in convert(*words, status=2)
    assert 'no usr' in convert(*words, '--stamps', tmp_path, status=2)
    assert not (tmp_path / 'world').exists()
    assert 'goes with --objects stamps' in convert('make_toyworld', '--stamps', tmp_path, status=2)


def test_a_long_tail_has_the_sizes_of_imagenet_lt():
    counts = np.full(1000, 1300)
    counts[:105] = np.linspace(732, 1290, 105)  # as in ImageNet
    labels = np.repeat(np.arange(1000), counts)
    sizes = long_tail_sizes(labels)
    values = np.array([*sizes.values()])
    assert (values.min(), values.max()) == (5, 1280)
    assert 0.95 < values.sum() / 115846 < 1.1  # the published number of images
    # The published shares of classes with more than 100 and at most 20 images.
    assert abs((values > 100).mean() - 0.385) < 0.1
    assert abs((values <= 20).mean() - 0.136) < 0.1
    assert all(size <= counts[label] for label, size in sizes.items())
    chosen = sized_subset(labels, sizes, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [sizes[label] for label in range(1000)]
    half = long_tail_sizes(labels, largest=640, smallest=2)
    assert set(sized_subset(labels, half, seed=0)) < set(chosen)
    other = long_tail_sizes(labels, seed=1)
    assert sorted(other.values()) == sorted(sizes.values())
    assert other != sizes


def test_a_long_tail_takes_the_classes_that_have_enough():
    labels = np.repeat(np.arange(4), [5, 50, 12, 30])
    for seed in range(5):
        sizes = long_tail_sizes(labels, largest=50, smallest=2, seed=seed)
        assert sizes == {0: 2, 1: 50, 2: 11, 3: 25}
    for bounds, message in (
        ((60,), 'no class is left that has 60 images; the largest has'),
        ((4, 5), 'the smallest class must have at least 1 image'),
        ((4, 0), 'the smallest class must have at least 1 image'),
    ):
        with pytest.raises(DatasetError, match=message):
            long_tail_sizes(labels, *bounds)
    with pytest.raises(DatasetError, match='class 0 has 5 images, 6 are asked for'):
        sized_subset(labels, {0: 6}, seed=0)


def test_lists_of_subsets_are_read_back(tmp_path):
    for name, count in zip('abcde', (12, 12, 12, 12, 20), strict=True):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / f'train/{name}/{name} {number}.JPEG').touch()

    def listed(file, *words):
        out = convert('make_subset', tmp_path, tmp_path / file, *words)
        return out, np.bincount(ImageNet(str(tmp_path), ann_file=file).labels()).tolist()

    out, counts = listed('lists/quarter.txt', '--fraction', 0.25)
    assert '17 of 68 images of 5 classes' in out
    assert counts == [3, 3, 3, 3, 5]
    out, counts = listed('lt.txt', '--long-tail', '--largest', 12, '--smallest', 2)
    assert 'of 68 images of 5 classes, 2 to 12 a class' in out
    assert sorted(counts) == [2, 3, 5, 7, 12]  # quantiles by hand
    out = convert('make_subset', tmp_path, tmp_path / 'lt.txt', '--long-tail', status=2)
    assert 'no class is left that has 1280 images' in out
