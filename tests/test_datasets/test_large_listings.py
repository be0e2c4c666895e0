"""Listings of the size of ImageNet-21k (14.2 million images): bytes an image, peak, order."""

import pickle
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lightvit_dense.datasets import DatasetError, ImageNet
from lightvit_dense.datasets.imagenet_index import FolderTree
from lightvit_dense.datasets.lmdb_format import pack_keys, unpack_keys
from lightvit_dense.datasets.lmdb_writer import write_lmdb

MILLION = 1_000_000


def names(count: int) -> Iterator[str]:
    """Yield keys as ImageNet-21k has them: 650 images a class."""
    for number in range(count):
        synset = f'n{10_000_000 + number // 650:08d}'
        yield f'train/{synset}/{synset}_{number % 650}.JPEG'


def peak(function: Callable[[], Iterable]) -> int:
    """Return the bytes that walking over an iterable takes at most."""
    tracemalloc.start()
    try:
        for _ in function():
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope='module')
def indexed() -> ImageNet:
    dataset = ImageNet('data', with_labels=False, lazy_init=True)
    dataset.pack((name, -1) for name in names(MILLION))
    dataset._fully_initialized = True
    return dataset


def test_an_image_takes_as_many_bytes_as_its_name_and_twelve(indexed: ImageNet) -> None:
    """At 14.2 million that is 0.6 GB; str objects in a list would be 1.4 GB without a label."""
    length = sum(map(len, names(MILLION)))
    held = indexed.data_bytes.nbytes + indexed.data_address.nbytes
    assert held == length + 12 * MILLION
    assert held / MILLION < 46
    assert indexed.entry(MILLION - 1)[0] == 'train/n10001538/n10001538_299.JPEG'
    assert len(indexed) == MILLION


def test_workers_get_two_arrays_and_no_object_an_image(indexed: ImageNet) -> None:
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(indexed, protocol=5, buffer_callback=buffers.append)
    assert len(rest) < 5000
    sizes = sorted(buffer.raw().nbytes for buffer in buffers)
    assert sizes == sorted([indexed.data_bytes.nbytes, indexed.data_address.nbytes])
    again = pickle.loads(rest, buffers=buffers)
    assert again.entry(650) == indexed.entry(650)
    assert np.shares_memory(again.data_bytes, indexed.data_bytes)


def make_folder(root: Path, classes: int, images: int) -> Path:
    for number in range(classes):
        folder = root / f'train/n{number:08d}'
        folder.mkdir(parents=True)
        for image in range(images):
            (folder / f'n{number:08d}_{image}.JPEG').touch()
    return root


def test_listing_a_folder_holds_one_class_at_a_time(tmp_path) -> None:
    few, many = (make_folder(tmp_path / str(n), n, 200) for n in (2, 20))
    peaks = [peak(FolderTree(str(root), 'train', ['.jpeg']).keys) for root in (few, many)]
    assert peaks[1] < 1.2 * peaks[0]
    assert len(list(FolderTree(str(many), 'train', ['.jpeg']).keys())) == 4000


def test_listing_an_lmdb_unpacks_piece_by_piece() -> None:
    listed = list(names(100_000))
    packed = pack_keys(listed)
    assert list(unpack_keys(packed, 999)) == list(unpack_keys(packed)) == listed
    assert peak(lambda: unpack_keys(packed, 10_000)) < 1_000_000  # the list: 10 MB
    assert list(unpack_keys(b'')) == list(unpack_keys(pack_keys([]))) == []
    with pytest.raises(DatasetError, match='list of files in the LMDB is damaged'):
        list(unpack_keys(packed[:-9]))


def test_both_sources_list_in_the_order_of_whole_paths(tmp_path) -> None:
    paths = ['a/1.jpg', 'a-b/2.jpg', 'a.b/3.jpg', 'aé/4.jpg', 'a/b/5.jpg', 'a/b-.jpg', 'a0/6.JPG']
    for path in paths:
        (tmp_path / 'all' / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'all' / path).write_bytes(b'picture')
    write_lmdb(tmp_path / 'all', tmp_path / 'all.lmdb')
    for options in (dict(), dict(source='lmdb', lmdb_path='../all.lmdb')):
        dataset = ImageNet(str(tmp_path / 'all'), '', with_labels=False, **options)
        assert [dataset.entry(i)[0] for i in range(len(dataset))] == sorted(paths)
