"""The toy world's videos in LaSOT's layout."""

import json

import cv2
import numpy as np
import pytest

from lightvit_dense.datasets.toyworld import LAYOUTS, WorldSpec, build_world
from lightvit_dense.datasets.toyworld import video as video_module
from lightvit_dense.datasets.toyworld.assets import load_photos
from lightvit_dense.datasets.toyworld.compose import warp_cutout
from lightvit_dense.datasets.toyworld.video import (
    ATTRIBUTES,
    HELD_OUT,
    VideoFacts,
    attributes_of,
    make_video,
)
from lightvit_dense.datasets.toyworld.video_plan import Sprite, _constant
from tests.helpers.toy_world import build, digest
from tracking.datasets import LaSOT

SIZES = {'image_size': 64, 'train': 2, 'val': 2, 'unlabeled': 1, 'portraits': 2}
SPEC = WorldSpec(seed=5, videos=9, test_videos=4, video_frames=12, test_frames=16, **SIZES)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy') / 'world'
    return build_world(root, SPEC, ['lasot'], workers=1, progress=False)


@pytest.fixture(scope='module')
def videos():
    # Seeds and lengths of the real thing: all events occur.
    spec = WorldSpec(video_frames=20)
    return [make_video(spec, 'test', i) for i in (2, 4, 12)] + [
        make_video(spec, 'train', i) for i in (1, 3, 4, 6)
    ]


def rows(path):
    return [list(map(int, line.split(','))) for line in path.read_text().splitlines()]


def names_of(root, split):
    return (root / f'lasot/{split}ing_set.txt').read_text().split()


def test_files_and_names(built):
    root = built.root / 'lasot'
    train, test = names_of(built.root, 'train'), names_of(built.root, 'test')
    assert (len(train), len(test)) == (9, 4)
    assert not set(train) & set(test)
    for names, length in ((train, 12), (test, 16)):
        for name in names:
            folder = root / name.rsplit('-', 1)[0] / name
            images = sorted(path.name for path in (folder / 'img').iterdir())
            assert images == [f'{i:08d}.jpg' for i in range(1, length + 1)]
            boxes = np.array(rows(folder / 'groundtruth.txt'))
            flags = [rows(folder / f'{kind}.txt') for kind in ('full_occlusion', 'out_of_view')]
            assert boxes.shape == (length, 4)
            assert [np.shape(flag) for flag in flags] == [(1, length), (1, length)]
            absent = np.array(flags).any(axis=(0, 1))
            np.testing.assert_array_equal(absent, (boxes == 0).all(axis=1))
            assert not absent[0]
            assert np.shape(rows(root / f'att/{name}.txt')) == (1, 14)
            assert (folder / 'nlp.txt').read_text().startswith(name.rsplit('-', 1)[0])
    assert cv2.imread(str(next(root.glob('*/*/img/00000001.jpg')))).shape == (160, 192, 3)
    assert built.stats['lasot']['train']['images'] == 9 * 12
    assert built.stats['lasot']['test']['videos'] == 4


def test_splits_share_no_photograph_and_held_out_targets_stay_out_of_training(built):
    sources = {}
    for split in ('train', 'test'):
        info = json.loads((built.root / f'lasot/{split}_info.json').read_text())
        sources[split] = {name for used in info['video_sources'].values() for name in used}
        assert sources[split] == {source['name'] for source in info['sources']}
    photos = {photo.source.name for split in ('train', 'val') for photo in load_photos(split)}
    assert photos & sources['train']
    # The dahlia's photograph gives a cut-out and is no background.
    assert not photos & sources['train'] & sources['test']
    assert not set(HELD_OUT) & sources['train']
    assert len(set(HELD_OUT) & sources['test']) >= 2


def test_bytes_do_not_depend_on_workers(built, tmp_path):
    alone = build(tmp_path / 'world', 'lasot', spec=SPEC)
    assert digest(alone.root) == digest(built.root)


def test_boxes_are_those_of_the_masks(videos):
    for video in videos:
        for mask, box in zip(video.masks, video.boxes, strict=True):
            if not mask.any():
                assert not box.any()
                continue
            ys, xs = np.nonzero(mask)
            low, high = (xs.min(), ys.min()), (xs.max() + 1, ys.max() + 1)
            assert tuple(box) == (*low, high[0] - low[0], high[1] - low[1])


def test_masks_cover_what_is_drawn(videos):
    """Where the target goes, and only there, the picture differs from one without it."""
    spec = WorldSpec(video_frames=20)
    drawn = []
    original = video_module.draw_plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_module, 'draw_plan', lambda *a: drawn.append(original(*a)) or drawn[-1])
        # Blur spreads the target beyond the mask, which is that of the middle of the shutter.
        for index in range(3, 20):
            video = make_video(spec, 'train', index)
            if not drawn[-1][0].shutter:
                break
    plan = drawn[-1][0]
    assert not plan.shutter
    empty = Sprite(**{**vars(plan.target), 'scale': _constant(-4.6)})
    for time in (0, 8, 19):
        with_it = video_module._draw(plan, time)
        bare = video_module._draw(type(plan)(**{**vars(plan), 'target': empty}), time)
        changed = np.abs(with_it - bare).max(axis=2) > 2
        mask = video.masks[time].astype(np.uint8)
        near = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0
        pose = empty.pose(time, -plan.shake.at(time))
        near |= warp_cutout(empty.cutout, pose, plan.size).mask(plan.size)
        if mask.any():
            assert changed[video.masks[time]].mean() > 0.8
        assert not (changed & ~near).sum() > 20


def test_flags_say_why_the_target_is_gone(videos):
    gone = {'full_occlusion': 0, 'out_of_view': 0}
    for video in videos:
        visible = video.masks.any(axis=(1, 2))
        assert not (video.full_occlusion & video.out_of_view).any()
        np.testing.assert_array_equal(video.full_occlusion | video.out_of_view, ~visible)
        gone['full_occlusion'] += video.full_occlusion.sum()
        gone['out_of_view'] += video.out_of_view.sum()
        assert ('Full Occlusion' in video.attributes) == bool(video.full_occlusion.any())
        assert ('Out-of-View' in video.attributes) == bool(video.out_of_view.any())
    assert min(gone.values()) >= 3
    # Before it is gone it reaches the border, and where it comes back.
    video = next(video for video in videos if video.out_of_view.any())
    first = int(np.flatnonzero(video.out_of_view)[0])
    x, y, w, h = video.boxes[first - 1]
    height, width = video.frames[0].shape[:2]
    assert min(x, y, width - x - w, height - y - h) < 30


def test_attributes_follow_the_boxes():
    assert LaSOT.ATTRIBUTES == ATTRIBUTES
    assert len(ATTRIBUTES) == 14
    facts = VideoFacts(frozenset({'spin', 'light'}))
    mask = np.zeros((100, 100), bool)

    def add(box, inside=1.0, seen=1.0, travel=0.0, nearest=np.inf):
        x, y, w, h = box
        picture = mask.copy()
        picture[y : y + h, x : x + w] = True
        facts.add(picture, inside, seen, travel, nearest)

    add((10, 10, 40, 40))
    add((12, 10, 40, 40))
    assert attributes_of(facts) == ('Illumination Variation', 'Rotation')
    add((12, 10, 30, 30), inside=1.0, seen=0.8)
    # 900 pixels are few, and more than half of the first box.
    added = set(attributes_of(facts)) - {'Illumination Variation', 'Rotation'}
    assert added == {'Partial Occlusion', 'Low Resolution'}
    add((60, 60, 20, 20))
    found = attributes_of(facts)
    assert {'Fast Motion', 'Low Resolution', 'Scale Variation'} <= set(found)
    assert 'Aspect Ratio Change' not in found
    add((60, 60, 25, 10), travel=9.0, nearest=20.0)
    add((0, 0, 0, 0), inside=0.0, seen=0.0)
    add((0, 0, 0, 0), inside=0.9, seen=0.01)
    absent = {'Deformation', 'Camera Motion', 'Viewpoint Change'}
    assert set(ATTRIBUTES) - set(attributes_of(facts)) == absent


def test_what_is_missing_is_named(built):
    folder = built.root / 'lasot'
    layout = LAYOUTS['lasot']
    assert layout.problem(folder, SPEC) is None
    name = names_of(built.root, 'test')[0]
    target = folder / name.rsplit('-', 1)[0] / name
    for file in (target / 'out_of_view.txt', folder / f'att/{name}.txt'):
        content = file.read_bytes()
        file.unlink()
        assert layout.problem(folder, SPEC) == f'{file} is missing'
        file.write_bytes(content)
    image = target / 'img/00000003.jpg'
    image.rename(target / 'spare.jpg')
    assert layout.problem(folder, SPEC) == f'{target / "img"} holds 15 files instead of 16'
    (target / 'spare.jpg').rename(image)
