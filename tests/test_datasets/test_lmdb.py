"""LMDBs: every file is written, whatever interrupts it, and read as from a folder."""

import copy
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
from functools import partial

import lmdb
import numpy as np
import pytest
from torch.utils.data import DataLoader

from lightvit_dense.datasets import lmdb_writer
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.lmdb_format import HASHES, META
from lightvit_dense.datasets.lmdb_writer import list_files, verify_lmdb, write_lmdb
from lightvit_dense.datasets.storage import FolderStorage, LmdbStorage, open_environment


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / f'source/class_{number % 3}/{number:03d}.JPEG'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(int(rng.integers(1, 3000))))
    return tmp_path / 'source'


def entries(path):
    with lmdb.open(str(path), readonly=True, lock=False) as held, held.begin() as transaction:
        return dict(transaction.cursor())


def damage(path, change):
    with lmdb.open(str(path), map_size=1 << 26) as held, held.begin(write=True) as transaction:
        change(transaction)


IMAGE = b'class_1/004.JPEG'


def test_holds_every_file_under_its_relative_path(source, tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_writer, 'FIRST_MAP', 1 << 15)  # the map has to grow
    target, told = tmp_path / 'out/data.lmdb', []
    report = write_lmdb(source, target, report=lambda *at: told.append(at), batch_bytes=9000)
    found = entries(target)
    files = {key: value for key, value in found.items() if not key.startswith(b'__')}
    expected = {str(p.relative_to(source)).encode(): p.read_bytes() for p in source.rglob('*.JPEG')}
    assert files == expected
    hashes = b''.join(hashlib.sha256(expected[key]).digest() for key in sorted(expected))
    stored = [found[key] for key in sorted(found) if key.startswith(HASHES)]
    assert len(stored) > 3  # several transactions
    assert b''.join(stored) == hashes
    assert report.meta.sha256 == hashlib.sha256(hashes).hexdigest()
    assert (report.meta.count, report.meta.size) == (40, sum(map(len, expected.values())))
    assert report.size == (target / 'data.mdb').stat().st_size > 1 << 16
    writes = [at for at in told if at[0] == 'writing']
    ends = [writes[0], writes[-1], told[-1]]
    assert ends == [('writing', 0, 40), ('writing', 40, 40), ('verifying', 40, 40)]
    assert list(LmdbStorage(target).keys()) == sorted(key.decode() for key in expected)


def test_content_depends_on_neither_readers_nor_batches(source, tmp_path):
    kept = []
    for readers, size in ((1, 1), (8, 1 << 20)):
        options = dict(readers=readers, batch_bytes=size)
        runs = [write_lmdb(source, tmp_path / f'{size}.lmdb', **options) for _ in range(2)]
        assert [run.resumed for run in runs] == [0, 40]  # the second has nothing to do
        kept += [run.meta for run in runs]
    assert all(meta == kept[0] for meta in kept)


def test_takes_the_endings_it_is_told(tmp_path):
    for name in ('train/list.txt', 'a/b/groundtruth.txt', 'seq.json', 'x.jpg', '.hidden.txt'):
        path = tmp_path / 'mixed' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    source = tmp_path / 'mixed'
    assert list_files(source) == ['x.jpg']
    texts = ['a/b/groundtruth.txt', 'seq.json', 'train/list.txt']
    assert list_files(source, ['.TXT', '.json']) == texts
    assert len(list_files(source, None)) == 4
    target = source / 'inside.lmdb'
    write_lmdb(source, target, ['.txt'])
    assert LmdbStorage(target).read('a/b/groundtruth.txt') == b'a/b/groundtruth.txt'
    assert len(list_files(source, None)) == 4  # the LMDB is no file to convert


def run(code, *paths):
    imports = (
        'import os, resource, sys\nfrom lightvit_dense.datasets.lmdb_writer import write_lmdb\n'
    )
    command = [sys.executable, '-c', imports + code, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_goes_on_after_a_kill(source, tmp_path):
    target, whole = tmp_path / 'killed.lmdb', tmp_path / 'whole.lmdb'
    code = (
        'report = lambda stage, done, total: done < 20 or os.kill(os.getpid(), 9)\n'
        'write_lmdb(*sys.argv[1:], report=report, batch_bytes=4000)'
    )
    assert run(code, source, target).returncode == -signal.SIGKILL
    storage = LmdbStorage(target)
    with pytest.raises(DatasetError, match=r'holds \d+ of 40 files.*interrupted.*make_lmdb'):
        list(storage.keys())
    storage.close()
    with pytest.raises(DatasetError, match='of 40 files'):
        verify_lmdb(target)
    report = write_lmdb(source, target, batch_bytes=4000)
    assert 20 <= report.resumed < 40
    write_lmdb(source, whole, batch_bytes=4000)
    assert entries(target) == entries(whole)


def test_a_full_disk_loses_nothing(source, tmp_path):
    # A limit on the size of files fails writes as a full disk does, in this user's rights.
    target = tmp_path / 'data.lmdb'
    code = (
        'resource.setrlimit(resource.RLIMIT_FSIZE, (70000, resource.RLIM_INFINITY))\n'
        'write_lmdb(*sys.argv[1:], batch_bytes=4000)'
    )
    message = run(code, source, target).stderr
    assert 'cannot be written' in message
    assert 'are safe: make room and run the same command again' in message
    report = write_lmdb(source, target)
    assert 0 < report.resumed < 40
    assert report.meta.count == 40


def test_what_was_read_before_an_unreadable_file_is_kept(source, tmp_path):
    bad = source / 'class_1/037.JPEG'
    content = bad.read_bytes()
    bad.unlink()
    bad.symlink_to(tmp_path / 'nowhere')
    with pytest.raises(DatasetError, match=r'class_1/037\.JPEG: cannot be read \(No such file'):
        write_lmdb(source, tmp_path / 'data.lmdb')
    bad.unlink()
    bad.write_bytes(content)
    assert write_lmdb(source, tmp_path / 'data.lmdb').resumed == 26  # class_0 and half of class_1


def test_refuses_what_is_not_its_own(source, tmp_path):
    foreign = tmp_path / 'foreign'
    damage(foreign, lambda transaction: transaction.put(b'key', b'value'))
    before = (foreign / 'data.mdb').read_bytes()
    with pytest.raises(DatasetError, match='LMDB of another program; nothing was touched'):
        write_lmdb(source, foreign)
    assert (foreign / 'data.mdb').read_bytes() == before
    with pytest.raises(DatasetError, match=r'besides an LMDB.*nothing was touched'):
        write_lmdb(source, source)
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(DatasetError, match='is a file'):
        write_lmdb(source, tmp_path / 'file')
    with pytest.raises(DatasetError, match=r'was not made by make_lmdb\.py'):
        verify_lmdb(foreign)


def test_refuses_other_files_than_it_began_with(source, tmp_path):
    write_lmdb(source, tmp_path / 'data.lmdb')
    (source / 'class_0/new.JPEG').write_bytes(b'new')
    (source / 'class_0/000.JPEG').unlink()
    with pytest.raises(DatasetError, match=r'1 are new now.*new\.JPEG.*1 are gone.*000\.JPEG'):
        write_lmdb(source, tmp_path / 'data.lmdb')


def test_refuses_a_second_writer(source, tmp_path):
    target = tmp_path / 'data.lmdb'

    def intrude(stage, done, total):
        if done == 0:
            with pytest.raises(DatasetError, match='another process is writing'):
                write_lmdb(source, target)

    write_lmdb(source, target, report=intrude)


@pytest.mark.parametrize(
    ('name', 'extensions', 'message'),
    [
        ('__meta__', None, 'no file may have this name'),
        ('a\nb', None, 'no file may have this name'),
        ('/'.join(('d' * 200, 'e' * 200, 'f' * 124)), None, '511 bytes at most, this one 526'),
        (os.fsdecode(b'\xff.jpg'), ['.jpg'], 'not UTF-8; rename'),
        ('a.txt', ['.jpg', '.png'], r'holds no file with an ending of \.jpg, \.png'),
    ],
)
def test_refuses_what_cannot_be_a_key(tmp_path, name, extensions, message):
    path = tmp_path / 'source' / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(DatasetError, match=message):
        write_lmdb(tmp_path / 'source', tmp_path / 'data.lmdb', extensions)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda t: t.put(IMAGE, b'other'), r'1 of 40 files differ.*class_1/004\.JPEG'),
        (lambda t: t.delete(IMAGE), 'entries instead of'),
        (lambda t: t.put(b'extra', b'value'), 'entries instead of'),
        (lambda t: t.put(HASHES + b'000000000000', b'x' * 1280), 'list of paths or of hashes'),
        (lambda t: t.delete(META), 'was not made by'),
        (lambda t: t.put(META, b'{"format": "lightvit_dense.lmdb", "version": 9}'), 'layout 9'),
    ],
)
def test_verification_finds_damage(source, tmp_path, change, message):
    target = tmp_path / 'data.lmdb'
    write_lmdb(source, target)
    assert verify_lmdb(target).meta.count == 40
    damage(target, change)
    with pytest.raises(DatasetError, match=message):
        verify_lmdb(target)


# ---------------------------------------------------------------- reading

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


def foreign(path, keys):
    """Write an LMDB as other programs do, a single file whose values are the keys."""
    with lmdb.open(str(path), subdir=False) as environment, environment.begin(write=True) as into:
        for key in keys:
            into.put(key.encode(), key.encode())


def read_all(storage, numbers):
    """Return the process and whether it read what is in the files."""
    contents = [(storage.read(f'{number:02d}.jpg'), bytes([number]) * 5000) for number in numbers]
    return os.getpid(), [found == expected for found, expected in contents]


def test_both_storages_read_alike(folder, path):
    storages = [FolderStorage(folder), LmdbStorage(path)]
    assert storages[0].read('03.jpg') == storages[1].read('03.jpg') == b'\3' * 5000
    with pytest.raises(FileNotFoundError, match=r'99\.jpg does not exist'):
        storages[0].read('99.jpg')
    for key in ('99.jpg', '', 'x' * 600):
        with pytest.raises(FileNotFoundError, match=f"has no key '{key}"):
            storages[1].read(key)


def test_objects_share_one_open_file_and_are_plain_data(path):
    first, second = LmdbStorage(path), LmdbStorage(str(path) + '/')
    assert first.read('01.jpg') == second.read('01.jpg')
    assert list(first.keys('0')) == [f'{number:02d}.jpg' for number in range(10)]
    first.close()  # and opened again
    for other in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert other.read('07.jpg')[0] == 7


@pytest.mark.parametrize(('method', 'count', 'epochs'), [('fork', 2, 2), ('spawn', 1, 1)])
def test_workers_read_while_the_parent_has_it_open(path, method, count, epochs):
    storage = LmdbStorage(path)
    assert storage.read('00.jpg')[0] == 0
    options = dict(num_workers=count, multiprocessing_context=method)
    loader = DataLoader(range(COUNT), 2, collate_fn=partial(read_all, storage), **options)
    for _ in range(epochs):
        workers, right = zip(*loader, strict=True)
        assert [all(each) for each in right] == [True] * (COUNT // 2)
        assert len(set(workers) - {os.getpid()}) == count
    assert storage.read('05.jpg')[0] == 5


@pytest.mark.parametrize('size', [4096, 8192, 20000, 50000])
def test_a_truncated_file_is_an_error_not_a_crash(path, tmp_path, size):
    shutil.copytree(path, tmp_path / 'cut')
    with open(tmp_path / 'cut/data.mdb', 'r+b') as file:
        file.truncate(size)
    with pytest.raises(DatasetError, match=r'cut/data\.mdb: .*(truncated|not an LMDB).*make_lmdb'):
        LmdbStorage(tmp_path / 'cut').read('00.jpg')


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
        file.write_text(name)
    write_lmdb(tmp_path / 'files', tmp_path / 'ours')
    foreign(tmp_path / 'foreign.mdb', names)
    storages = [LmdbStorage(tmp_path / 'ours'), LmdbStorage(tmp_path / 'foreign.mdb')]
    assert storages[1].meta() is None
    for storage in storages:
        assert list(storage.keys()) == sorted(names)
        assert list(storage.keys('a/2')) == ['a/2-3/x.jpg', 'a/2/x.jpg', 'a/2/y.jpg', 'a/20.jpg']
        assert list(storage.keys('d/')) == []
        assert storage.read('a/2/y.jpg') == b'a/2/y.jpg'
        for folder in ('', 'a', 'a/2', 'a1/x', 'grün', 'a1/x/y'):
            assert storage.children(folder) == sorted(os.listdir(tmp_path / 'files' / folder))
        assert storage.children('nowhere') == storage.children('a/1.jpg') == []
        found = [storage.exists(name) for name in ('a/2/y.jpg', 'a/2', 'x' * 600)]
        assert found == [True, False, False]
