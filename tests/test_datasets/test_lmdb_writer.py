import hashlib
import os
import resource
import signal
import subprocess
import sys

import lmdb
import numpy as np
import pytest

from lightvit_dense.datasets import lmdb_writer
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.lmdb_format import HASHES, META
from lightvit_dense.datasets.lmdb_writer import LmdbWriteError, list_files, verify_lmdb, write_lmdb
from lightvit_dense.datasets.storage import LmdbStorage


def make_files(root, count=40, size=3000):
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / f'class_{number % 3}/{number:03d}.JPEG'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(int(rng.integers(1, size))))
    return root


@pytest.fixture
def source(tmp_path):
    return make_files(tmp_path / 'source')


def entries(path):
    environment = lmdb.open(str(path), readonly=True, lock=False)
    with environment.begin() as transaction:
        found = dict(transaction.cursor())
    environment.close()
    return found


def damage(path, change):
    environment = lmdb.open(str(path), map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        change(transaction)
    environment.close()


IMAGE = b'class_1/004.JPEG'


def test_holds_every_file_under_its_relative_path(source, tmp_path):
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
    assert report.size == (target / 'data.mdb').stat().st_size
    writes = [at for at in told if at[0] == 'write']
    assert writes[0] == ('write', 0, 40)
    assert writes[-1] == ('write', 40, 40)
    assert told[-1] == ('verify', 40, 40)
    assert list(LmdbStorage(target).keys()) == sorted(key.decode() for key in expected)


def test_content_depends_on_neither_readers_nor_batches(source, tmp_path):
    kept = []
    for number, (readers, size) in enumerate([(1, 1), (8, 1 << 20)]):
        target = tmp_path / f'{number}.lmdb'
        kept.append(write_lmdb(source, target, readers=readers, batch_bytes=size).meta)
    assert kept[0] == kept[1]


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


def test_the_map_grows(source, tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_writer, 'FIRST_MAP', 1 << 15)
    report = write_lmdb(source, tmp_path / 'data.lmdb')
    assert report.size > 1 << 16


def test_a_second_run_has_nothing_to_do_and_still_verifies(source, tmp_path):
    first = write_lmdb(source, tmp_path / 'data.lmdb')
    again = write_lmdb(source, tmp_path / 'data.lmdb')
    assert (first.resumed, again.resumed) == (0, 40)
    assert first.meta == again.meta


KILLED = """
import os, signal, sys
from lightvit_dense.datasets.lmdb_writer import write_lmdb
def report(stage, done, total):
    if stage == 'write' and done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)
write_lmdb(sys.argv[1], sys.argv[2], report=report, batch_bytes=4000)
"""


def test_goes_on_after_a_kill(source, tmp_path):
    target, whole = tmp_path / 'killed.lmdb', tmp_path / 'whole.lmdb'
    command = [sys.executable, '-c', KILLED, str(source), str(target)]
    done = subprocess.run(command, timeout=600, check=False)
    assert done.returncode == -signal.SIGKILL
    storage = LmdbStorage(target)
    with pytest.raises(DatasetError, match=r'holds \d+ of 40 files.*interrupted.*make_lmdb'):
        list(storage.keys())
    storage.close()
    with pytest.raises(DatasetError, match='of 40 files'):
        verify_lmdb(target)
    report = write_lmdb(source, target, batch_bytes=4000)
    assert 20 <= report.resumed < 40
    assert report.meta == write_lmdb(source, whole, batch_bytes=4000).meta
    ours, theirs = entries(target), entries(whole)
    assert ours == theirs


def test_a_full_disk_loses_nothing(source, tmp_path):
    # A limit on the size of files fails writes as a full disk does, in this user's rights.
    target = tmp_path / 'data.lmdb'
    code = (
        'import resource, sys\n'
        'from lightvit_dense.datasets.lmdb_writer import write_lmdb\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (70000, resource.RLIM_INFINITY))\n'
        'write_lmdb(sys.argv[1], sys.argv[2], batch_bytes=4000)\n'
    )
    command = [sys.executable, '-c', code, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert 'cannot be written' in done.stderr
    assert 'are safe: make room and run the same command again' in done.stderr
    report = write_lmdb(source, target)
    assert 0 < report.resumed < 40
    assert report.meta.count == 40
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_what_was_read_before_an_unreadable_file_is_kept(source, tmp_path):
    bad = source / 'class_1/037.JPEG'
    content = bad.read_bytes()
    bad.unlink()
    bad.symlink_to(tmp_path / 'nowhere')
    with pytest.raises(LmdbWriteError, match=r'class_1/037\.JPEG: cannot be read \(No such file'):
        write_lmdb(source, tmp_path / 'data.lmdb')
    bad.unlink()
    bad.write_bytes(content)
    assert write_lmdb(source, tmp_path / 'data.lmdb').resumed == 26  # class_0 and half of class_1


def test_refuses_what_is_not_its_own(source, tmp_path):
    foreign = tmp_path / 'foreign'
    damage(foreign, lambda transaction: transaction.put(b'key', b'value'))
    before = (foreign / 'data.mdb').read_bytes()
    with pytest.raises(LmdbWriteError, match='LMDB of another program; nothing was touched'):
        write_lmdb(source, foreign)
    assert (foreign / 'data.mdb').read_bytes() == before
    with pytest.raises(LmdbWriteError, match=r'besides an LMDB.*nothing was touched'):
        write_lmdb(source, source)
    file = tmp_path / 'file'
    file.write_text('mine')
    with pytest.raises(LmdbWriteError, match='is a file'):
        write_lmdb(source, file)
    with pytest.raises(LmdbWriteError, match=r'was not made by make_lmdb\.py'):
        verify_lmdb(foreign)


def test_refuses_other_files_than_it_began_with(source, tmp_path):
    write_lmdb(source, tmp_path / 'data.lmdb')
    (source / 'class_0/new.JPEG').write_bytes(b'new')
    (source / 'class_0/000.JPEG').unlink()
    with pytest.raises(LmdbWriteError, match=r'1 are new now.*new\.JPEG.*1 are gone.*000\.JPEG'):
        write_lmdb(source, tmp_path / 'data.lmdb')


def test_refuses_a_second_writer(source, tmp_path):
    target = tmp_path / 'data.lmdb'

    def intrude(stage, done, total):
        if done == 0:
            with pytest.raises(LmdbWriteError, match='another process is writing'):
                write_lmdb(source, target)

    write_lmdb(source, target, report=intrude)


@pytest.mark.parametrize('name', ['__meta__', 'a\nb'])
def test_refuses_names_that_cannot_be_keys(tmp_path, name):
    (tmp_path / 'source').mkdir()
    (tmp_path / 'source' / name).write_text('x')
    with pytest.raises(LmdbWriteError, match='no file may have this name'):
        write_lmdb(tmp_path / 'source', tmp_path / 'data.lmdb', None)


def test_refuses_paths_that_are_too_long_or_no_text(tmp_path):
    folder = tmp_path / 'long' / ('d' * 200) / ('e' * 200)
    folder.mkdir(parents=True)
    (folder / ('f' * 120 + '.jpg')).write_text('x')
    with pytest.raises(LmdbWriteError, match='511 bytes at most, this one 526'):
        write_lmdb(tmp_path / 'long', tmp_path / 'data.lmdb')
    (tmp_path / 'bytes').mkdir()
    (tmp_path / 'bytes' / os.fsdecode(b'\xff.jpg')).write_text('x')
    with pytest.raises(LmdbWriteError, match='not UTF-8; rename'):
        write_lmdb(tmp_path / 'bytes', tmp_path / 'data.lmdb')


def test_refuses_an_empty_or_missing_source(tmp_path):
    with pytest.raises(DatasetError, match='does not exist'):
        write_lmdb(tmp_path / 'none', tmp_path / 'data.lmdb')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DatasetError, match=r'holds no file with an ending of \.jpg'):
        write_lmdb(tmp_path / 'empty', tmp_path / 'data.lmdb')


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
