"""Small sets of packages: read from every form they come in, written in ImageNet's layout."""

import gzip
import json
import shutil
import struct
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from lightvit_dense.datasets import ImageNet
from lightvit_dense.datasets.small_sets import SOURCES, SmallSetError, write_set
from lightvit_dense.datasets.small_sets.images import SmallSet, stratified_split
from lightvit_dense.datasets.small_sets.sources import FASHION, read_idx


def idx(values: np.ndarray) -> bytes:
    head = struct.pack(f'>4B{values.ndim}I', 0, 0, 8, values.ndim, *values.shape)
    return head + values.tobytes()


@pytest.fixture
def fashion(tmp_path):
    """Return a folder like Fashion-MNIST's, of 40 and 20 images; a pixel tells its label."""
    folder = tmp_path / 'fashion'
    folder.mkdir()
    for part, count in (('train', 40), ('t10k', 20)):
        labels = (np.arange(count) * 7 % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 3, 5] = labels * 20
        (folder / f'{part}-images-idx3-ubyte.gz').write_bytes(gzip.compress(idx(images)))
        (folder / f'{part}-labels-idx1-ubyte.gz').write_bytes(gzip.compress(idx(labels)))
    return folder


def read_back(root, part):
    """Return labels and pixels as ImageNet's reader gives them."""
    dataset = ImageNet(str(root), part, classes='classes.txt')
    entries = [dataset.entry(place) for place in range(len(dataset))]
    pixels = [cv2.imread(str(root / key), cv2.IMREAD_UNCHANGED) for key, _ in entries]
    return dataset, [label for _, label in entries], pixels


def test_fashion_mnist_keeps_labels_and_pixels(fashion, tmp_path):
    data = SOURCES['fashion-mnist'](fashion)
    report = write_set(data, tmp_path / 'out')
    assert (report.built, report.counts) == (True, {'train': 40, 'val': 20})
    for part, count in (('train', 40), ('val', 20)):
        dataset, labels, pixels = read_back(report.root, part)
        assert dataset.metainfo['classes'][8:] == ('bag', 'ankle-boot')  # the published order
        assert np.bincount(labels).tolist() == [count // 10] * 10
        assert [image[3, 5] for image in pixels] == [label * 20 for label in labels]
        assert pixels[0].shape == (28, 28)
        listed = ImageNet(str(report.root), part, f'{part}.txt', classes='classes.txt')
        assert {listed.entry(i) for i in range(count)} == {dataset.entry(i) for i in range(count)}
    assert 'MIT' in (report.root / 'README.txt').read_text()


def test_a_whole_set_is_kept_a_damaged_or_changed_one_is_written_anew(fashion, tmp_path):
    data = SOURCES['fashion-mnist'](fashion)
    root = write_set(data, tmp_path).root
    assert not write_set(data, tmp_path).built
    victim = next((root / 'train/bag').glob('*.png'))
    victim.unlink()
    assert write_set(data, tmp_path).built
    assert victim.is_file()
    changed = SmallSet(**{**vars(data), 'train': (data.train[0] + 1, data.train[1])})
    assert write_set(changed, tmp_path).built
    assert cv2.imread(str(victim), cv2.IMREAD_UNCHANGED)[0, 0] == 1


def test_what_is_not_ours_is_not_touched_and_nothing_half_done_stays(fashion, tmp_path):
    data = SOURCES['fashion-mnist'](fashion)
    mine = tmp_path / 'out/fashion-mnist'
    mine.mkdir(parents=True)
    (mine / 'thesis.txt').write_text('precious')
    with pytest.raises(SmallSetError, match='not written by this tool'):
        write_set(data, tmp_path / 'out')
    assert (mine / 'thesis.txt').read_text() == 'precious'

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_set(data, tmp_path / 'other', interrupt)
    assert list((tmp_path / 'other').iterdir()) == []


def test_damaged_and_missing_files_are_named_with_the_remedy(fashion, tmp_path):
    labels = fashion / 't10k-labels-idx1-ubyte.gz'
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-9])
    with pytest.raises(SmallSetError, match=r't10k-labels.* damaged'):
        SOURCES['fashion-mnist'](fashion)
    labels.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    with pytest.raises(SmallSetError, match='20 values announced, 19 there'):
        SOURCES['fashion-mnist'](fashion)
    labels.write_bytes(gzip.compress(idx(np.zeros(19, np.uint8))))
    with pytest.raises(SmallSetError, match='20 images and 19 labels'):
        SOURCES['fashion-mnist'](fashion)
    labels.unlink()
    with pytest.raises(SmallSetError, match=r't10k-labels.*apt-get download dataset-fashion-mnist'):
        SOURCES['fashion-mnist'](fashion)
    with pytest.raises(SmallSetError, match='no IDX file of bytes in 1 dimensions'):
        read_idx(idx(np.zeros((2, 2), np.uint8)), 'labels', 1)


@pytest.mark.skipif(shutil.which('dpkg-deb') is None, reason='needs dpkg-deb')
def test_a_debian_package_is_read_without_installing_it(fashion, tmp_path):
    tree = tmp_path / 'tree'
    (tree / 'DEBIAN').mkdir(parents=True)
    (tree / 'DEBIAN/control').write_text(
        'Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\n'
        'Description: small\n'
    )
    shutil.copytree(fashion, tree / FASHION.folder.lstrip('/'))
    package = tmp_path / 'small.deb'
    subprocess.run(['dpkg-deb', '-b', str(tree), str(package)], check=True, capture_output=True)
    expected = SOURCES['fashion-mnist'](fashion).digest()
    assert SOURCES['fashion-mnist'](package).digest() == expected
    assert SOURCES['fashion-mnist'](tree).digest() == expected  # unpacked by dpkg-deb -x
    with pytest.raises(SmallSetError, match=r'digits\.png not found'):
        SOURCES['opencv-digits'](package)
    package.write_bytes(package.read_bytes()[:200])
    with pytest.raises(SmallSetError, match='damaged or no Debian package'):
        SOURCES['fashion-mnist'](package)


def test_opencv_digits_are_cut_row_by_row(tmp_path):
    sheet = np.zeros((1000, 2000), np.uint8)
    for row in range(50):
        for column in range(100):
            sheet[row * 20 : row * 20 + 20, column * 20 : column * 20 + 20] = row // 5 * 25
    cv2.imwrite(str(tmp_path / 'digits.png'), sheet)
    data = SOURCES['opencv-digits'](tmp_path)
    assert [len(part[1]) for part in (data.train, data.val)] == [4000, 1000]
    for images, labels in (data.train, data.val):
        assert images.shape[1:] == (20, 20)
        assert (images == labels[:, None, None] * 25).all()
        assert len(set(np.bincount(labels).tolist())) == 1
    assert SOURCES['opencv-digits'](tmp_path / 'digits.png').digest() == data.digest()
    cv2.imwrite(str(tmp_path / 'digits.png'), sheet[:980])
    with pytest.raises(SmallSetError, match='2000x1000 pixels expected, found 2000x980'):
        SOURCES['opencv-digits'](tmp_path)


def test_digits_are_scikit_learns_and_split_by_class(tmp_path):
    data = SOURCES['digits'](None)
    images, labels = load_digits(return_X_y=True)
    together = np.concatenate([data.train[0], data.val[0]]).reshape(1797, 64)
    back = np.rint(together / (255 / 16))
    key = np.lexsort(back.T)
    assert np.array_equal(back[key], images[np.lexsort(images.T)])
    share = np.bincount(data.val[1]) / np.bincount(labels)
    assert np.abs(share - 0.2).max() < 0.005
    assert SOURCES['digits'](None).digest() == data.digest()
    with pytest.raises(SmallSetError, match='give no --source'):
        SOURCES['digits'](tmp_path)


def test_a_split_loses_and_doubles_nothing():
    labels = np.repeat(np.arange(3), [10, 20, 30])
    images = np.arange(60).reshape(60, 1, 1)
    rest, aside = stratified_split(images, labels, 0.2)
    assert np.bincount(aside[1]).tolist() == [2, 4, 6]
    assert sorted([*rest[0].ravel(), *aside[0].ravel()]) == list(range(60))
    assert (labels[aside[0].ravel()] == aside[1]).all()


def test_info_tells_where_it_comes_from(fashion, tmp_path):
    root = write_set(SOURCES['fashion-mnist'](fashion), tmp_path).root
    info = json.loads(Path(root / 'info.json').read_text())
    assert info['images'] == {'train': 40, 'val': 20}
    assert 'Zalando' in info['licence']
