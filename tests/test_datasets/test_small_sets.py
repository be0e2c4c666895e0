"""Small sets of packages: read from every form they come in, written in ImageNet's layout."""

import gzip
import json
import shutil
import struct

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from lightvit_dense.datasets import DatasetError, ImageNet, small_sets
from lightvit_dense.datasets.small_sets import SOURCES, SmallSet, write_set


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
    data = SOURCES['fashion-mnist'](fashion)
    assert write_set(data, tmp_path / 'out')
    assert data.counts == {'train': 40, 'val': 20}
    root = tmp_path / 'out/fashion-mnist'
    for part, count in data.counts.items():
        dataset = ImageNet(str(root), part, classes='classes.txt')
        assert dataset.metainfo['classes'][8:] == ('bag', 'ankle-boot')  # the published order
        entries = [dataset.entry(place) for place in range(count)]
        assert np.bincount([label for _, label in entries]).tolist() == [count // 10] * 10
        for key, label in entries:
            pixels = cv2.imread(str(root / key), cv2.IMREAD_UNCHANGED)
            assert (pixels.shape, pixels[3, 5]) == ((28, 28), label * 20)
        listed = ImageNet(str(root), part, f'{part}.txt', classes='classes.txt')
        assert {listed.entry(place) for place in range(count)} == set(entries)
    info = json.loads((root / 'info.json').read_text())
    assert (info['images'], 'Zalando' in info['licence']) == (data.counts, True)


def test_a_whole_set_is_kept_a_damaged_or_changed_one_is_written_anew(fashion, tmp_path):
    data = SOURCES['fashion-mnist'](fashion)
    assert write_set(data, tmp_path)
    assert not write_set(data, tmp_path)
    root = tmp_path / 'fashion-mnist'
    victim = next((root / 'train/bag').glob('*.png'))
    victim.unlink()
    assert write_set(data, tmp_path)
    assert victim.is_file()
    assert write_set(SmallSet(**{**vars(data), 'split': 'another'}), tmp_path)


def test_what_is_not_ours_is_not_touched_and_nothing_half_done_stays(
    fashion, tmp_path, monkeypatch
):
    data = SOURCES['fashion-mnist'](fashion)
    mine = tmp_path / 'out/fashion-mnist'
    mine.mkdir(parents=True)
    (mine / 'thesis.txt').write_text('precious')
    with pytest.raises(DatasetError, match='not written by this tool'):
        write_set(data, tmp_path / 'out')
    assert (mine / 'thesis.txt').read_text() == 'precious'

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(small_sets, '_write_images', interrupt)
    (tmp_path / 'other').mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_set(data, tmp_path / 'other')
    assert list((tmp_path / 'other').iterdir()) == []


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda whole: whole[:-9], r't10k-labels.* damaged'),
        (lambda whole: gzip.compress(idx(np.zeros(19, np.uint8))), 'do not belong together'),
        (None, r't10k-labels.*apt-get download dataset-fashion-mnist'),
    ],
)
def test_damaged_and_missing_files_are_named_with_the_remedy(fashion, change, message):
    labels = fashion / 't10k-labels-idx1-ubyte.gz'
    if change:
        labels.write_bytes(change(labels.read_bytes()))
    else:
        labels.unlink()
    with pytest.raises(DatasetError, match=message):
        SOURCES['fashion-mnist'](fashion)


def test_an_unpacked_package_is_read(fashion, tmp_path):
    shutil.copytree(fashion, tmp_path / 'tree/usr/share/datasets/fashion-mnist')
    expected, found = map(SOURCES['fashion-mnist'], (fashion, tmp_path / 'tree'))
    assert np.array_equal(expected.val[0], found.val[0])
    with pytest.raises(DatasetError, match=r'digits\.png not found'):
        SOURCES['opencv-digits'](tmp_path / 'tree')


def test_opencv_digits_are_cut_row_by_row(tmp_path):
    rows, columns = np.repeat(np.arange(10), 100), np.ones(2000)
    sheet = np.outer(rows * 25, columns).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'digits.png'), sheet)
    data = SOURCES['opencv-digits'](tmp_path)
    for (images, labels), count in zip((data.train, data.val), (400, 100), strict=True):
        assert images.shape[1:] == (20, 20)
        assert (images == labels[:, None, None] * 25).all()
        assert np.bincount(labels).tolist() == [count] * 10
    cv2.imwrite(str(tmp_path / 'digits.png'), sheet[:980])
    with pytest.raises(DatasetError, match='is no picture of 2000x1000 pixels'):
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
    with pytest.raises(DatasetError, match='give no --source'):
        SOURCES['digits'](tmp_path)
