"""Packed images: right pixels, whatever interrupts the packing, and copies in shared memory."""

import fcntl
import os
import pickle
import re
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize

from lightvit_dense.datasets import DatasetError, memory_cache
from lightvit_dense.datasets.converters import packer
from lightvit_dense.datasets.converters.packer import Packer, open_source, verify_packed
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.datasets.packed import PackedStorage, PackSettings
from lightvit_dense.utils.io import write_json
from tests.helpers.data_sets import build, write_image

SIZES = {  # height and width, and those of a short side of 16
    'train/a/1.jpg': ((40, 31), (20, 16)),
    'train/a/1.png': ((17, 47), (16, 44)),
    'train/b/2.JPEG': ((16, 30), (16, 30)),
    'train/b/é 3.jpg': ((12, 9), (12, 9)),  # is smaller
    'val/4.png': ((15, 64), (15, 64)),  # as well
}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp('source')
    for seed, (key, (size, _)) in enumerate(SIZES.items()):
        write_image(root / key, size, seed)
    return root


def pack(source, target, form='raw', listed='', short_side=16, exif=False, **options):
    settings = PackSettings(form, short_side, exif, per_shard=2)
    return Packer(*open_source(source, listed), target, settings, **options).pack()


def packed_set(root, **options):
    given = dict(source='packed', packed_path='packed', classes=['a', 'b'])
    return build('ImageNet', root, **given | options)


@pytest.mark.parametrize('form', ['raw', 'jpeg'])
def test_pictures_are_those_of_torchvisions_resize(source, tmp_path, form):
    meta = pack(source, tmp_path / 'packed', form)
    assert (meta.count, meta.small, meta.bad) == (5, 2, {})
    storage = pickle.loads(pickle.dumps(PackedStorage(tmp_path / 'packed')))
    assert list(storage.keys()) == sorted(SIZES)
    members = {}
    for shard in meta.shardlist:
        with tarfile.open(tmp_path / 'packed' / shard['url']) as tar:  # as any program reads it
            members |= {name: tar.extractfile(name).read() for name in tar.getnames()}
    names = ['train/a/1', 'train/a/1.png', 'train/b/2', 'train/b/é 3', 'val/4']
    assert list(members) == [name + ('.ppm' if form == 'raw' else '.jpg') for name in names]
    for (key, (size, packed)), member in zip(SIZES.items(), members.values(), strict=True):
        data, picture = (source / key).read_bytes(), Image.open(source / key).convert('RGB')
        if min(size) > 16:
            picture = Resize(16, InterpolationMode.BICUBIC)(picture)
        pixels = storage.pixels(key)
        if form == 'raw':
            assert np.array_equal(pixels, picture)
            assert not pixels.flags.writeable
            data = b'P6\n%d %d\n255\n' % packed[::-1] + pixels.tobytes()
        elif min(size) > 16 or key.endswith('png'):
            quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
            data = cv2.imencode('.jpg', np.asarray(picture)[..., ::-1], quality)[1].tobytes()
        assert storage.read(key) == member == data
    with pytest.raises(FileNotFoundError, match=r"has no key 'val/5\.png'"):
        storage.read('val/5.png')


def test_sources_and_workers_make_the_same_files(source, tmp_path):
    write_lmdb(source, tmp_path / 'lmdb')
    one = pack(source, tmp_path / 'one', workers=1)
    assert pack(tmp_path / 'lmdb', tmp_path / 'many', workers=3) == one
    (tmp_path / 'list.txt').write_text('val/4.png 1\ntrain/a/1.jpg 0\n')
    pack(source, tmp_path / 'part', listed=str(tmp_path / 'list.txt'))
    assert list(PackedStorage(tmp_path / 'part').keys()) == ['train/a/1.jpg', 'val/4.png']


@pytest.mark.parametrize(('form', 'turned'), [('raw', False), ('raw', True), ('jpeg', True)])
def test_exif_turns_when_asked_and_a_pipeline_that_differs_is_refused(tmp_path, form, turned):
    path, exif = tmp_path / 'train/a/1.jpg', Image.Exif()
    path.parent.mkdir(parents=True)
    exif[0x0112] = 6  # a quarter clockwise
    Image.new('RGB', (20, 10)).save(path, exif=exif)
    pack(tmp_path, tmp_path / 'packed', form, exif=turned)
    load = dict(type='lightvit_dense.LoadImage', exif=turned)
    image = packed_set(tmp_path, classes=['a'], pipeline=[load])[0]['img']
    assert image.shape == ((20, 10, 3) if turned else (10, 20, 3))
    load['exif'] = not turned
    with pytest.raises(DatasetError, match=f'exif={turned}, and the pipeline says'):
        packed_set(tmp_path, classes=['a'], pipeline=[load])


def test_goes_on_after_a_kill(source, tmp_path):
    target, whole = tmp_path / 'killed', pack(source, tmp_path / 'whole')
    with pytest.raises(ZeroDivisionError):
        pack(source, target, workers=1, report=lambda _, done, __: 1 / (not done))
    (target / '.shard-000001.tar.x.tmp').touch()
    with pytest.raises(DatasetError, match=r'packing was interrupted.*pack_images\.py'):
        PackedStorage(target)
    first, told = (target / 'shard-000000.tar').stat(), []
    assert pack(source, target, report=lambda *at: told.append(at[1:])) == whole
    assert pack(source, target, report=None) == whole  # nothing is left to do
    assert (target / 'shard-000000.tar').stat() == first
    assert told[-1] == (5, 5)
    assert {p.name for p in target.iterdir()} == {p.name for p in (tmp_path / 'whole').iterdir()}


def test_unreadable_pictures_are_counted_named_and_tolerated(source, tmp_path):
    shutil.copytree(source, tmp_path / 'source')
    (tmp_path / 'source/train/b/2.JPEG').write_bytes(b'')
    message = r'1 images cannot be read, and --max-bad is 0(.|\n)*train/b/2\.JPEG: zero bytes'
    with pytest.raises(DatasetError, match=message):
        pack(tmp_path / 'source', tmp_path / 'packed')
    meta = pack(tmp_path / 'source', tmp_path / 'packed', max_bad=1)
    assert (meta.count, meta.small, meta.bad) == (5, 2, {'train/b/2.JPEG': 'zero bytes'})
    load = dict(type='lightvit_dense.LoadImage', exif=False, max_bad=1)
    dataset = packed_set(tmp_path, pipeline=[load])
    assert dataset[2]['img_path'] != 'train/b/2.JPEG'  # another takes its place
    reason = dataset.pipeline.transforms[0].bad_files()['train/b/2.JPEG']
    assert reason == 'could not be read when it was packed (zero bytes)'
    shutil.copy(source / 'train/b/2.JPEG', tmp_path / 'source/train/b')  # restored
    assert not pack(tmp_path / 'source', tmp_path / 'packed', max_bad=1).bad
    assert packed_set(tmp_path, pipeline=[load])[2]['img_path'] == 'train/b/2.JPEG'


def test_what_is_not_its_own_or_does_not_fit_is_refused(source, tmp_path, monkeypatch):
    pack(source, tmp_path / 'packed')
    for root, form in ((source, 'jpeg'), (source / 'train', 'raw')):
        with pytest.raises(DatasetError, match='was begun with other images or settings: 5 images'):
            pack(root, tmp_path / 'packed', form)
    with pytest.raises(DatasetError, match=r"besides packed images, \['train', 'val'\]"):
        pack(source, source)
    monkeypatch.setattr(packer.shutil, 'disk_usage', lambda path: SimpleNamespace(free=2000))
    message = r'too small: 5 images take about .*e-05 GB, and 2e-06 GB are free\. .*--format jpeg'
    with pytest.raises(DatasetError, match=message):
        pack(source, tmp_path / 'other')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (shutil.rmtree, 'there are no packed images'),
        (lambda at: os.truncate(at / 'shard-000001.tar', 700), r'1\.tar: .* truncated, 700 bytes'),
        (lambda at: (at / 'index.npy').unlink(), r'index\.npy: is missing .* 0 bytes of'),
        (
            lambda at: write_json(at / 'index.json', {'version': 9}),
            r"'version': 9.*reads .*'version': 1",
        ),
    ],
)
def test_damaged_and_foreign_sets_are_refused(source, tmp_path, damage, message):
    pack(source, tmp_path / 'packed')
    damage(tmp_path / 'packed')
    with pytest.raises(DatasetError, match=message):
        packed_set(tmp_path)


def test_what_is_damaged_afterwards_is_found(source, tmp_path):
    pack(source, tmp_path / 'packed')
    storage = PackedStorage(tmp_path / 'packed')
    path = tmp_path / 'packed/shard-000001.tar'
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    with pytest.raises(DatasetError, match=r"1 of 5 files differ.*'shard-000001\.tar'.*pack"):
        verify_packed(tmp_path / 'packed', 1, lambda *at: None)
    assert storage.pixels('train/a/1.jpg') is not None
    os.truncate(tmp_path / 'packed/shard-000000.tar', 600)  # while it is mapped
    path.unlink()
    for key, number in (('train/a/1.jpg', 0), ('train/b/2.JPEG', 1)):
        with pytest.raises(DatasetError, match=rf'shard-00000{number}\.tar: gone or cut short'):
            storage.read(key)


def hold(folder):  # as another process does that uses it
    fcntl.flock(handle := os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    return handle


def test_shards_are_copied_to_shared_memory_once_and_removed_by_the_last_user(
    source, tmp_path, monkeypatch
):
    shm, copies, copy = tmp_path / 'shm', [], shutil.copyfile
    monkeypatch.setattr(memory_cache, 'ROOT', shm)
    monkeypatch.setattr(shutil, 'copyfile', lambda *paths: copies.append(copy(*paths)))
    shards = pack(source, tmp_path / 'packed').shardlist
    living, dead = (shm / f'lightvit-{os.getuid()}-{name}' for name in ('living', 'dead'))
    living.mkdir(parents=True)
    dead.mkdir()
    other = hold(living)
    room = sum(shard['filesize'] for shard in shards[:2]) / 1e9
    storage = [packed_set(tmp_path, cache_gb=room).storage for _ in range(2)][1]
    assert len(copies) == 2  # of three shards, and not again for the second data set
    folders = [Path(shard).parent for shard in storage.shards]
    assert folders == [folders[0], folders[0], tmp_path / 'packed']
    assert {*shm.iterdir()} == {folders[0], living}  # what a killed run left is gone
    assert all(storage.pixels(key) is not None for key in SIZES)
    second = hold(folders[0])
    memory_cache.release(os.getpid() + 1)  # by a forked process
    memory_cache.release(os.getpid())
    assert folders[0].is_dir()
    os.close(second)
    packed_set(tmp_path, cache_gb=room)
    memory_cache.release(os.getpid())
    assert [*shm.iterdir()] == [living]
    os.close(other)
    monkeypatch.setattr(memory_cache.shutil, 'disk_usage', lambda path: SimpleNamespace(free=3000))
    with pytest.raises(DatasetError, match=r'cache_gb=64: .*e-05 GB of .* 3e-06 GB are free\. Set'):
        packed_set(tmp_path, cache_gb=64)
    monkeypatch.setattr(memory_cache, 'print_log', log := Mock())
    packed_set(tmp_path, cache_gb=1e-9)
    assert re.match('cache_gb=1e-09 caches nothing: .*000.tar takes .*e-05', log.call_args[0][0])
    memory_cache.release(os.getpid())
    with pytest.raises(ValueError, match="cache_gb=1 goes with source='packed', got source='lmdb'"):
        packed_set(tmp_path, cache_gb=1, source='lmdb')
