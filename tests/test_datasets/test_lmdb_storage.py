import copy
import os
import pickle
import shutil

import lmdb
import pytest
from torch.utils.data import DataLoader, Dataset

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.datasets.storage import FolderStorage, LmdbStorage, open_environment

COUNT = 12


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('files')
    for number in range(COUNT):
        (root / f'{number:02d}.jpg').write_bytes(bytes([number]) * 5000)
    return root


@pytest.fixture(scope='module')
def path(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp('lmdb') / 'data.lmdb'
    write_lmdb(folder, target)
    return target


def foreign(path, keys, **options):
    """Write an LMDB as other programs do, whose values are the keys."""
    with lmdb.open(str(path), **options) as environment, environment.begin(write=True) as into:
        for key in keys:
            into.put(key.encode(), key.encode())


class Bytes(Dataset):
    def __init__(self, storage):
        self.storage = storage

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        content = self.storage.read(f'{index:02d}.jpg')
        assert content == bytes([index]) * 5000
        return content[0], os.getpid()


def test_both_storages_read_alike(folder, path):
    storages = [FolderStorage(folder), LmdbStorage(path)]
    assert storages[0].read('03.jpg') == storages[1].read('03.jpg') == b'\3' * 5000
    for storage, name in zip(
        storages, ('99.jpg does not exist', "has no key '99.jpg'"), strict=True
    ):
        with pytest.raises(FileNotFoundError, match=name):
            storage.read('99.jpg')
    for key in ('', 'x' * 600):
        with pytest.raises(FileNotFoundError, match='has no key'):
            storages[1].read(key)


def test_two_objects_share_one_open_file(path):
    first, second = LmdbStorage(path), LmdbStorage(str(path) + '/')
    assert first.read('01.jpg') == second.read('01.jpg')
    assert list(first.keys('0')) == [f'{number:02d}.jpg' for number in range(10)]
    first.close()
    assert second.read('02.jpg')[0] == 2  # opened again


@pytest.mark.parametrize(('method', 'count', 'epochs'), [('fork', 2, 2), ('spawn', 1, 1)])
def test_workers_read_while_the_parent_has_it_open(path, method, count, epochs):
    storage = LmdbStorage(path)
    assert storage.read('00.jpg')[0] == 0
    loader = DataLoader(
        Bytes(storage), batch_size=2, num_workers=count, multiprocessing_context=method
    )
    for _ in range(epochs):
        batches = list(loader)
        assert [int(v) for values, _ in batches for v in values] == list(range(COUNT))
        workers = {int(pid) for _, pids in batches for pid in pids}
        assert len(workers) == count
        assert os.getpid() not in workers
    assert storage.read('05.jpg')[0] == 5


def test_is_plain_data(path):
    storage = LmdbStorage(path)
    storage.read('00.jpg')
    for other in (copy.deepcopy(storage), pickle.loads(pickle.dumps(storage))):
        assert other.read('07.jpg')[0] == 7


def test_lists_and_reads_an_lmdb_of_another_program(tmp_path):
    foreign(tmp_path / 'one.mdb', ['a/1.jpg', 'b/1.jpg', 'b/2.jpg', 'c/1.jpg'], subdir=False)
    storage = LmdbStorage(tmp_path / 'one.mdb')
    assert storage.meta() is None
    assert list(storage.keys()) == ['a/1.jpg', 'b/1.jpg', 'b/2.jpg', 'c/1.jpg']
    assert list(storage.keys('b/')) == ['b/1.jpg', 'b/2.jpg']
    assert list(storage.keys('d/')) == []
    assert storage.read('b/2.jpg') == b'b/2.jpg'


@pytest.mark.parametrize('size', [4096, 8192, 20000, 50000])
def test_a_truncated_file_is_an_error_not_a_crash(path, tmp_path, size):
    shutil.copytree(path, tmp_path / 'cut')
    with open(tmp_path / 'cut/data.mdb', 'r+b') as file:
        file.truncate(size)
    with pytest.raises(DatasetError, match=r'truncated|not an LMDB') as caught:
        LmdbStorage(tmp_path / 'cut').read('00.jpg')
    assert str(tmp_path / 'cut/data.mdb') in str(caught.value)
    assert 'make_lmdb.py' in str(caught.value)


def test_other_files_are_told_apart(tmp_path):
    (tmp_path / 'zero').mkdir()
    (tmp_path / 'zero/data.mdb').touch()
    with pytest.raises(DatasetError, match=r'zero/data\.mdb: this LMDB is empty'):
        LmdbStorage(tmp_path / 'zero').read('x')
    (tmp_path / 'text').write_text('no LMDB at all ' * 1000)
    with pytest.raises(DatasetError, match='text: is not an LMDB'):
        LmdbStorage(tmp_path / 'text').read('x')
    with pytest.raises(DatasetError, match=r"does not exist.*make_lmdb.*source='folder'"):
        LmdbStorage(tmp_path / 'none').read('x')


def test_opened_by_other_code(path):
    LmdbStorage(path).close()
    environment = open_environment(os.path.realpath(path))
    with pytest.raises(DatasetError, match='other code of this process has opened'):
        LmdbStorage(path).read('00.jpg')
    environment.close()
    assert LmdbStorage(path).read('00.jpg')[0] == 0


def test_folders_of_an_lmdb_are_listed_as_on_a_disk(tmp_path):
    names = ['a/1.jpg', 'a/2/x.jpg', 'a/2/y.jpg', 'a-1/x.jpg', 'a0.jpg', 'a1/x/y/z.jpg', 'zoo.jpg']
    names += ['a/2-3/x.jpg', 'a/20.jpg', 'grün/ä.jpg']
    for name in names:
        file = tmp_path / 'files' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'x')
    target = tmp_path / 'ours'
    write_lmdb(tmp_path / 'files', target)
    foreign(tmp_path / 'foreign', names)
    for storage in (LmdbStorage(target), LmdbStorage(tmp_path / 'foreign')):
        for folder in ('', 'a', 'a/2', 'a1/x', 'grün', 'a1/x/y'):
            assert storage.children(folder) == sorted(os.listdir(tmp_path / 'files' / folder))
        assert storage.children('nowhere') == storage.children('a/1.jpg') == []
        assert storage.exists('a/2/y.jpg')
        assert not storage.exists('a/2')
        assert not storage.exists('x' * 600)
