"""The stamp world: strangers in validation and test, annotations, errors."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightvit_dense.datasets.toyworld import KINDS, WorldSpec, fetch_stamps, stamps
from lightvit_dense.datasets.toyworld.stamps import find_stamps, load_stamps, stamp_sources
from lightvit_dense.datasets.toyworld.video import make_video, video_name
from lightvit_dense.errors import UserError
from tests.helpers.toy_world import build, digest

USED = ('fish', 'tool')
LAYOUTS = ('coco', 'imagenet', 'ade20k', 'lasot')
SIZES = dict(train=6, val=5, unlabeled=4, portraits=6, videos=14, test_videos=7)
REAL = Path(os.environ.get('LIGHTVIT_DATA', 'data')) / 'tuxpaint-stamps'


@pytest.fixture(scope='module')
def package(tmp_path_factory) -> Path:
    """Discs with a soft edge in the place of the package's fish and tools."""
    root = tmp_path_factory.mktemp('package')
    rng = np.random.default_rng(0)
    (root / 'usr/share/tuxpaint/stamps/animals').mkdir(parents=True)
    distance = np.hypot(*np.mgrid[-32:32, -24:24])
    for side in ('train', 'val'):
        for _, source in stamp_sources(USED, side):
            path = root / source.path
            path.parent.mkdir(parents=True, exist_ok=True)
            rgba = rng.integers(0, 256, (64, 48, 4), np.uint8)
            rgba[..., 3] = np.clip((20 - distance) * 64, 0, 255)
            Image.fromarray(rgba).save(path)
    return root


@pytest.fixture(scope='module')
def spec(package) -> WorldSpec:
    sizes = dict(image_size=64, video_frames=2, test_frames=2, video_size=(96, 96)) | SIZES
    return WorldSpec(object_set='stamps', classes=USED, stamps=str(package), **sizes)


@pytest.fixture(scope='module')
def built(tmp_path_factory, spec) -> Path:
    return build(tmp_path_factory.mktemp('stamps') / 'world', *LAYOUTS, spec=spec).root


def names(side: str, kinds: tuple[str, ...] = KINDS) -> set[str]:
    return {source.name for _, source in stamp_sources(kinds, side)}


# ---------------------------------------------------------------- what was taken


def test_every_kind_has_enough_individuals_on_both_sides():
    for kind in KINDS:
        assert len(names('train', (kind,))) >= 6
        assert len(names('val', (kind,))) >= 3
    assert (len(names('train')), len(names('val'))) == (147, 69)
    assert not names('train') & names('val')


def test_pictures_of_one_species_are_on_one_side():
    """What is numbered, or another thing of the same name, is named here."""
    for kind in KINDS:
        words = [
            {
                re.sub('[^a-z].*', '', name.rpartition('/')[2].lower())
                for name in names(side, (kind,))
            }
            for side in ('train', 'val')
        ]
        assert words[0] & words[1] <= {'flower', 'guitar'}


@pytest.mark.skipif(not REAL.is_dir(), reason='the package of stamps is not unpacked')
def test_the_real_package_holds_photographs_by_the_rule():
    for side in ('train', 'val'):
        for cutout in load_stamps(str(REAL), KINDS, side):
            rgba = np.asarray(Image.open(REAL / cutout.source.path).convert('RGBA'))
            solid = rgba[rgba[..., 3] >= 128][:, :3] // 8 @ np.array([1024, 32, 1])
            assert len(solid) >= 900
            assert len(np.unique(solid)) >= 128


# ---------------------------------------------------------------- the world


def test_validation_and_test_show_strangers_only(built):
    shown: dict[str, set[str]] = {'train': set(), 'val': set()}
    for split in ('train', 'val'):
        notes = json.loads((built / f'coco/annotations/instances_{split}2017.json').read_text())
        assert 'GPL-2' in notes['licenses'][0]['name']
        credits = {s['name']: s['credit'] for s in notes['info']['sources']}
        for note in notes['annotations']:
            kind = notes['categories'][note['category_id'] - 1]['name']
            assert note['individual'] in names(split, (kind,))
            assert 'GPL-2' in credits[note['individual']]
    places = [('coco/annotations/image_info_unlabeled2017.json', 'train')]
    places += [(f'imagenet/{split}_info.json', split) for split in ('train', 'val')]
    places += [('ade20k/training_info.json', 'train'), ('ade20k/validation_info.json', 'val')]
    places += [('lasot/train_info.json', 'train'), ('lasot/test_info.json', 'val')]
    for file, side in places:
        content = json.loads((built / file).read_text())
        found = {source['name'] for source in content.get('info', content)['sources']}
        stamps_shown = {name for name in found if name.startswith('stamps/')}
        assert stamps_shown
        assert stamps_shown <= names(side, USED), file
        shown[side] |= stamps_shown
        assert not found & {'skimage/chelsea', 'skimage/motorcycle_left', 'skimage/rocket'}
    assert not shown['train'] & shown['val']


def test_counts_and_targets_that_take_turns(built, spec):
    for split in ('train', 'val', 'unlabeled'):
        assert len(list((built / f'coco/{split}2017').iterdir())) == SIZES[split]
    assert (built / 'imagenet/classes.txt').read_text().split() == list(USED)
    targets = [video_name(spec, 'test', i) for i in range(4)]
    assert targets == ['fish-7', 'tool-9', 'fish-8', 'tool-10']
    assert 'tool moving over' in make_video(spec, 'test', 1).sentence
    maps = sorted((built / 'ade20k/annotations/training').iterdir())
    numbers = set(np.concatenate([np.unique(np.asarray(Image.open(path))) for path in maps]))
    assert numbers == {0, 1, 123, 143}


def test_the_seed_decides_every_byte_and_the_folder_none(built, tmp_path, spec, package):
    moved = WorldSpec(**{**spec.to_dict(), 'stamps': f'{package}/usr/share'})
    assert digest(build(tmp_path / 'again', *LAYOUTS, spec=moved).root) == digest(built)
    nested = WorldSpec(**{**moved.to_dict(), 'stamps': str(package), 'train': 2})
    small = build(tmp_path / 'small', spec=nested).root / 'coco/train2017'
    for path in small.iterdir():
        assert path.read_bytes() == (built / 'coco/train2017' / path.name).read_bytes()
    kept = build(built, *LAYOUTS, spec=WorldSpec(**spec.to_dict()))
    assert not kept.built


# ---------------------------------------------------------------- errors


def test_missing_pictures_are_named(tmp_path, package):
    with pytest.raises(UserError, match=r'no usr/share/tuxpaint.*apt-get download tuxpaint-stamps'):
        load_stamps(str(tmp_path), USED, 'train')
    with pytest.raises(UserError, match=r'bird.*\.png cannot be read .*unpack'):
        load_stamps(str(package), ('bird',), 'train')
    assert find_stamps(package / 'usr/share/tuxpaint') == package


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **tools: str) -> None:
    """Let PATH hold these shell scripts only."""
    (tmp_path / 'bin').mkdir()
    for name, text in tools.items():
        path = tmp_path / 'bin' / name.replace('_', '-')
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))


@pytest.mark.parametrize(
    ('tools', 'message'),
    [
        ({}, 'apt-get is not installed. On any Debian'),
        (dict(apt_get='echo E: no network >&2; exit 100'), r'apt-get download failed \(E: no net'),
        (dict(apt_get=': > a.deb'), 'dpkg-deb is not installed.*dpkg-deb -x .*--stamps'),
    ],
)
def test_what_to_do_where_the_package_cannot_be_fetched(tmp_path, monkeypatch, tools, message):
    fake(tmp_path, monkeypatch, **tools)
    with pytest.raises(UserError, match=message):
        fetch_stamps(tmp_path / 'data/stamps')
    assert not list((tmp_path / 'data').iterdir())


def test_the_package_is_fetched_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, '_INSIDE', 'usr')
    fake(
        tmp_path,
        monkeypatch,
        apt_get=f'echo once >> {tmp_path}/log; : > {stamps.PACKAGE}_1_all.deb',
        dpkg_deb='/bin/mkdir -p "$3/usr/animals"',
    )
    for _ in range(2):
        assert find_stamps(fetch_stamps(tmp_path / 'data/stamps')) == tmp_path / 'data/stamps'
    assert (tmp_path / 'log').read_text() == 'once\n'
