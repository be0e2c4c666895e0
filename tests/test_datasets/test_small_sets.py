"""Small sets of packages: read from every form they come in, written in ImageNet's layout."""

import gzip
import json
import shutil
import struct
import subprocess

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from lightvit_dense.datasets import ImageNet
from lightvit_dense.datasets.small_sets import SOURCES, SmallSetError, write_set
from lightvit_dense.datasets.small_sets.images import SmallSet
from lightvit_dense.datasets.small_sets.sources import FASHION


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


def test_fashion_mnist_keeps_labels_and_pixels(fashion, tmp_path):
    report = write_set(SOURCES['fashion-mnist'](fashion), tmp_path / 'out')
    root = report.root
    assert (report.built, report.counts) == (True, {'train': 40, 'val': 20})
    for part, count in report.counts.items():
        dataset = ImageNet(str(root), part, classes='classes.txt')
        assert dataset.metainfo['classes'][8:] == ('bag', 'ankle-boot')  # the published order
        entries = [dataset.entry(place) for place in range(count)]
        assert np.bincount([label for _, label in entries]).tolist() == [count // 10] * 10
        for key, label in entries:
            pixels = cv2.imread(str(root / key), cv2.IMREAD_UNCHANGED)
            assert (pixels.shape, pixels[3, 5]) == ((28, 28), label * 20)
        listed = ImageNet(str(root), part, f'{part}.txt', classes='classes.txt')
        assert {listed.entry(place) for place in range(count)} == set(entries)
    assert 'MIT' in (root / 'README.txt').read_text()
    info = json.loads((root / 'info.json').read_text())
    assert (info['images'], 'Zalando' in info['licence']) == (report.counts, True)


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


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda whole: whole[:-9], r't10k-labels.* damaged'),
        (lambda whole: gzip.compress(gzip.decompress(whole)[:-1]), '20 values announced, 19 there'),
        (lambda whole: gzip.compress(idx(np.zeros(19, np.uint8))), '20 images and 19 labels'),
        (lambda whole: gzip.compress(idx(np.zeros((2, 2), np.uint8))), 'of bytes in 1 dimensions'),
        (None, r't10k-labels.*apt-get download dataset-fashion-mnist'),
    ],
)
def test_damaged_and_missing_files_are_named_with_the_remedy(fashion, change, message):
    labels = fashion / 't10k-labels-idx1-ubyte.gz'
    if change:
        labels.write_bytes(change(labels.read_bytes()))
    else:
        labels.unlink()
    with pytest.raises(SmallSetError, match=message):
        SOURCES['fashion-mnist'](fashion)


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
    rows, columns = np.repeat(np.arange(10), 100), np.ones(2000)
    sheet = np.outer(rows * 25, columns).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'digits.png'), sheet)
    data = SOURCES['opencv-digits'](tmp_path)
    for (images, labels), count in zip((data.train, data.val), (400, 100), strict=True):
        assert images.shape[1:] == (20, 20)
        assert (images == labels[:, None, None] * 25).all()
        assert np.bincount(labels).tolist() == [count] * 10
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
