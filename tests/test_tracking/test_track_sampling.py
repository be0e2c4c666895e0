"""Training pairs against straight lines; what is drawn, and on what it depends."""

import io
import math
import pickle
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightvit_dense.datasets.determinism import SeededIndex, SeededSampler, seeded
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.lmdb_writer import write_lmdb
from lightvit_dense.errors import UserError
from lightvit_dense_runtime.crops import CropWindow, crop_image, crop_window, padding_mask
from tracking.datasets import VideoSequence
from tracking.datasets.frames import StoredFrames
from tracking.registry import DATASETS
from tracking.sampling import CropSpec, Cut, FrameChoice, PairAugment, PairDataset
from tracking.sampling import pairs as pairs_module
from tracking.sampling.jitter import read_spec

from .small_sequences import ArrayFrames, write_lasot_sequence

DRAWS = 2000


def straight_crop(image: np.ndarray, window: CropWindow, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad the window with zeros in memory, pixel for pixel, then resize image and mask."""
    padded = np.zeros((window.side, window.side, 3), np.uint8)
    mask = np.ones((window.side, window.side))
    rows = np.arange(window.y, window.y + window.side)
    columns = np.arange(window.x, window.x + window.side)
    real = [
        (at >= 0) & (at < limit) for at, limit in zip((rows, columns), image.shape, strict=False)
    ]
    inside = np.ix_(*real)
    padded[inside] = image[np.ix_(rows[real[0]], columns[real[1]])]
    mask[inside] = 0
    resized = cv2.resize(padded, (out, out), interpolation=cv2.INTER_LINEAR)
    return resized, cv2.resize(mask, (out, out)).astype(bool)


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (540, 960, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


def test_window_is_that_of_the_paper():
    # ceil(sqrt(30 * 50) * 4) = 155; 10 + 15 - 77.5 = -52.5 and 20 + 25 - 77.5 = -32.5 go to even
    assert crop_window([10, 20, 30, 50], 4) == CropWindow(-52, -32, 155)
    assert crop_window(np.array([0, 0, 1, 1]), 1) == CropWindow(0, 0, 1)


def test_pixels_and_mask_match_padding_in_memory(photo: np.ndarray):
    draw = np.random.default_rng(1)
    kinds = set()
    for _ in range(120):
        out = int(draw.choice([64, 128, 256]))
        size = np.exp(draw.uniform(np.log(4), np.log(500), 2))
        window = crop_window([*draw.uniform(-300, [1000, 600]), *size], float(draw.choice([2, 4])))
        crop, mask = crop_image(photo, window, out), padding_mask(window, photo.shape[:2], out)
        expected, expected_mask = straight_crop(photo, window, out)
        large = window.side**2 * 3 > 4 << 20
        assert np.abs(crop.astype(int) - expected).max() <= (1 if large else 0)
        np.testing.assert_array_equal(mask, expected_mask)
        kinds.add((large, bool(mask.all()), bool(mask.any())))
    # inside, partly and wholly outside, and both ways of padding have been drawn
    assert {(False, False, False), (False, False, True), (False, True, True)} <= kinds
    assert (True, False, True) in kinds


def test_a_large_padded_window_is_never_laid_out(photo: np.ndarray):
    window = crop_window([0, 0, 960, 540], 8)
    assert window.side**2 * 3 > 90e6
    tracemalloc.start()
    crop_image(photo, window, 256)
    padding_mask(window, photo.shape[:2], 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_grey_frames_become_three_equal_channels(photo: np.ndarray):
    grey = np.ascontiguousarray(photo[..., 0])
    for box, factor in (([300, 200, 40, 40], 4), ([5, 5, 40, 40], 4), ([0, 0, 900, 500], 4)):
        window = crop_window(box, factor)
        expected = crop_image(np.dstack([grey] * 3), window, 64)
        np.testing.assert_array_equal(crop_image(grey, window, 64), expected)
        np.testing.assert_array_equal(crop_image(grey[..., None], window, 64), expected)


def test_boxes_go_in_and_out_of_the_window():
    window = CropWindow(-20, 30, 200)
    np.testing.assert_allclose(window.to_crop([80, 130, 50, 20], 100), [50, 50, 25, 10])
    np.testing.assert_allclose(window.to_crop([-20, 30, 200, 200], 1), [0, 0, 1, 1])
    boxes = np.random.default_rng(0).uniform(-50, 500, (3, 7, 4))
    for out in (1, 100, 256):
        there = window.to_crop(boxes, out)
        assert there.shape == boxes.shape
        np.testing.assert_allclose(window.to_image(there, out), boxes, rtol=0, atol=1e-10)


def draw_many(mode: str, max_interval: int, visible: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    choice = FrameChoice(mode, max_interval)
    with seeded(3):
        return np.array([choice.draw(visible) for _ in range(draws)])


@pytest.mark.parametrize('mode', ['causal', 'interval', 'order'])
def test_pairs_lie_within_the_interval(mode: str):
    """Causal ones look ahead, others back half of the time."""
    gappy = np.random.default_rng(0).random(400) < 0.6
    gappy[100:120] = False
    pairs = draw_many(mode, 30, gappy)
    assert gappy[pairs].all()
    distance = np.diff(pairs)
    assert (distance.min(), distance.max()) == (1 if mode == 'causal' else -30, 30)
    assert (distance != 0).all()
    if mode != 'causal':
        assert abs((distance > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(DRAWS)


def test_every_distance_is_as_likely_as_any_other():
    distance = np.diff(draw_many('causal', 10, np.ones(5000, bool)))
    counts = np.bincount(distance[:, 0])[1:]
    assert len(counts) == 10
    assert abs(counts - DRAWS / 10).max() < 4 * math.sqrt(DRAWS / 10)


def test_the_interval_grows_until_there_is_a_frame():
    visible = np.zeros(100, bool)
    visible[[3, 60]] = True
    np.testing.assert_array_equal(draw_many('causal', 1, visible, 20), [[3, 60]] * 20)
    found = {tuple(pair) for pair in draw_many('interval', 1, visible, 50)}
    assert found == {(3, 60), (60, 3)}


def test_the_shaken_box_is_that_of_the_authors():
    spec = CropSpec(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25)
    x, y, w, h = 100.0, 50.0, 40.0, 90.0
    with seeded(5):
        boxes = [spec.shake(np.array([x, y, w, h])) for _ in range(200)]
    state = np.random.RandomState(5)
    for box in boxes:
        # the same random numbers, one side after the other
        g_w, g_h = state.standard_normal(), state.standard_normal()
        u_x, u_y = state.random_sample(), state.random_sample()
        new_w, new_h = w * math.exp(0.25 * g_w), h * math.exp(0.25 * g_h)
        offset = 3.0 * math.sqrt(new_w * new_h)
        center_x = x + w / 2 + offset * (u_x - 0.5)
        center_y = y + h / 2 + offset * (u_y - 0.5)
        expected = [center_x - new_w / 2, center_y - new_h / 2, new_w, new_h]
        np.testing.assert_allclose(box, expected, rtol=1e-12)


@pytest.mark.parametrize(('shown', 'empty'), [((0, 0), False), ((17, 17), True), ((48, 16), False)])
def test_a_crop_is_empty_where_padding_covers_every_16th_pixel(shown: tuple, empty: bool):
    padding = np.ones((64, 64), bool)
    padding[shown] = False
    assert Cut(np.zeros((64, 64, 3), np.uint8), np.zeros(4), padding).is_empty is empty


@pytest.fixture
def cuts() -> tuple[Cut, Cut]:
    draw = np.random.default_rng(0)
    padding = np.zeros((32, 32), bool)
    padding[:, :5] = True
    images = draw.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    one, other = (Cut(image, np.array([0.25, 0.5, 0.125, 0.25]), padding) for image in images)
    return one, other


def test_a_joint_flip_mirrors_both_crops_exactly(cuts: tuple):
    for before, after in zip(cuts, PairAugment({'flip': 1.0}, 0.0, 0.0)(cuts), strict=True):
        np.testing.assert_array_equal(after.image, before.image[:, ::-1])
        np.testing.assert_array_equal(after.padding, before.padding[:, ::-1])
        np.testing.assert_allclose(after.box, [0.625, 0.5, 0.125, 0.25], rtol=0, atol=1e-15)
    # mirrored together and one by one is not mirrored
    for before, after in zip(cuts, PairAugment({'flip': 1.0}, 0.0, 1.0)(cuts), strict=True):
        np.testing.assert_array_equal(after.image, before.image)


def test_joint_changes_happen_to_both_crops_or_none(cuts: tuple):
    """And crops flip on their own besides."""
    for own in (0.0, 0.5):
        augment = PairAugment({'gray': 0.05, 'flip': 0.5}, 0.0, own)
        with seeded(1):
            drawn = [augment(cuts) for _ in range(DRAWS)]
        flips = np.array([[cut.padding[0, -1] for cut in pair] for pair in drawn])
        grays = np.array([[np.ptp(cut.image, axis=2).max() == 0 for cut in pair] for pair in drawn])
        for found, probability in ((flips, 0.5), (grays, 0.05)):
            spread = 4 * math.sqrt(probability * (1 - probability) / DRAWS)
            assert abs(found.mean(axis=0) - probability).max() < spread
        np.testing.assert_array_equal(grays[:, 0], grays[:, 1])
        same = (flips[:, 0] == flips[:, 1]).mean()
        assert same == 1 if own == 0 else abs(same - 0.5) < 4 * 0.5 / math.sqrt(DRAWS)


def test_brightness_is_a_factor_of_each_crop(cuts: tuple):
    augment = PairAugment({}, 0.2, 0.0)
    factors = []
    with seeded(7):
        for _ in range(300):
            for before, after in zip(cuts, augment(cuts), strict=True):
                # a least-squares factor of the levels that are not clipped, then the whole crop
                level = before.image[before.image < 200].astype(float)
                factor = after.image[before.image < 200] @ level / (level @ level)
                expected = np.clip(np.floor(before.image * factor + 0.5), 0, 255)
                assert abs(after.image - expected).max() <= 1
                factors.append(factor)
    assert 0.8 <= min(factors) < 0.81
    assert 1.19 < max(factors) <= 1.2
    assert abs(np.corrcoef(factors[::2], factors[1::2])[0, 1]) < 0.25


def test_grey_is_that_of_itu_601(cuts: tuple):
    template, _ = PairAugment({'gray': 1.0}, 0.0, 0.0)(cuts)
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(template.image - (cuts[0].image @ weights)[..., None]).max() <= 0.51
    assert cv2.countNonZero(template.image[..., 0] - template.image[..., 2]) == 0


NO_FRAMES = [np.zeros(shape, np.uint8) for shape in ((4, 4, 4), 4, (0, 4, 3))]
NO_FRAMES.append(np.zeros((4, 4, 3), np.float32))
NO_BOXES = [[0, 0, 0, 10], [0, 0, 10, -1], [0, 0, -10, -10], [0, 0, 1e9, 1e9], [1e12, 0, 10, 10]]
NO_BOXES += [[math.nan, 0, 10, 10], [0, 0, 10, math.nan], [0, 0, math.inf, 10]]
PUBLISHED = {'size': 256, 'factor': 4.0, 'center_jitter': 3.0}


def test_a_spec_takes_the_published_values_for_the_rest():
    assert read_spec('search', PUBLISHED, {'size': 128}) == CropSpec(128, 4.0, 3.0, 0.0)


@pytest.mark.parametrize(
    ('build', 'arguments', 'told'),
    [
        (FrameChoice, ('casual',), r"Did you mean 'causal'\?"),
        (FrameChoice, ('causal', 0), 'max_interval'),
        (FrameChoice().draw, (np.array([False, True]),), 'two visible frames, there are 1'),
        (PairAugment, ({'grey': 0.1}, 0.2, 0.5), r"Did you mean 'gray'\?"),
        (PairAugment, ({'flip': 1.5}, 0.2, 0.5), 'joint flip=1.5 is no probability'),
        (PairAugment, ({}, -0.1, 0.5), 'brightness must not be negative'),
        (PairAugment, ({}, 0.1, -0.5), 'flip=-0.5 is no probability'),
        (read_spec, ('search', PUBLISHED, {'centre_jitter': 1}), "Did you mean 'center_jitter'"),
        (read_spec, ('search', PUBLISHED, {'factor': 0}), 'positive size and factor'),
        *((crop_image, (frame, CropWindow(0, 0, 2), 2), 'a frame') for frame in NO_FRAMES),
        *((crop_window, (box, 2.0), 'no crop around the box x=') for box in NO_BOXES),
    ],
)
def test_what_cannot_be_is_refused(build, arguments: tuple, told: str):
    with pytest.raises((UserError, ValueError), match=told):
        build(*arguments)


SMALL = {'template': {'size': 32}, 'search': {'size': 64}}


STILL = {'template': {'size': 64}, 'joint': {}, 'brightness': 0.0, 'flip': 0.0}
STILL['search'] = {'size': 128, 'center_jitter': 0.0, 'scale_jitter': 0.0}


_NOISE = np.random.default_rng(0).integers(0, 100, (8, 120, 160, 3), dtype=np.uint8)


def paint(sequence: int, boxes: np.ndarray) -> list[np.ndarray]:
    """Return frames of noise with the target: red tells the frame, green the sequence."""
    frames = [_NOISE[(sequence * 7 + index) % 8].copy() for index in range(len(boxes))]
    for index in np.flatnonzero(np.isfinite(boxes).all(axis=1)):
        x, y, w, h = (round(side) for side in boxes[index].tolist())
        color = (index + 20, sequence + 120, 255)
        frames[index][max(y, 0) : y + h, max(x, 0) : x + w] = color
    return frames


class MemorySequences(list):
    """A set of sequences in memory: boxes [T, 4] and flags of visibility [T] of each."""

    def __init__(self, name: str, boxes: list, visible=None, is_video=True, damaged=()) -> None:
        for place, one in enumerate(boxes):
            seen = visible[place] if visible else (one[:, 2:] > 0).all(axis=1)
            frames = ArrayFrames(paint(place, one), damaged, f'memory/{place}')
            self.append(VideoSequence(f'{name}-{place}', frames, one, seen, name))
        self.name, self.is_video = name, is_video
        self.names = [one.name for one in self]
        self.lengths = np.array([len(one.boxes) for one in self])
        self.visible_counts = np.array([one.visible.sum() for one in self])


def moving(count: int, frames: int = 40) -> list[np.ndarray]:
    """Return boxes that move to the right and grow, [frames, 4] of each sequence."""
    steps = np.arange(frames)[:, None] * [1.5, 0.5, 0.25, 0.25]
    return [np.array([20 + place, 30, 24, 18]) + steps for place in range(count)]


ONE, SHORT = MemorySequences('a', moving(1)), MemorySequences('b', moving(3, 10))
EMPTY = MemorySequences('coco', [np.zeros((1, 4))], is_video=False)
FAR = MemorySequences('far', [np.tile([5000.0, 5000, 10, 10], (40, 1))])
TWO = (
    MemorySequences('a', moving(6)),
    MemorySequences('coco', [one[:1] for one in moving(4)], is_video=False),
)


@pytest.fixture(autouse=True)
def memory_type(monkeypatch: pytest.MonkeyPatch):
    """Let a config hand over a set in memory."""
    monkeypatch.setitem(DATASETS._module_dict, 'Memory', lambda made: made)


def pairs_of(*sets: MemorySequences, **options) -> PairDataset:
    return PairDataset(sets=[{'type': 'tracking.Memory', 'made': one} for one in sets], **options)


def drawn(pairs: PairDataset, seed: int = 0) -> list:
    """Return the samples of an epoch."""
    return [pairs[index]['data_samples'] for index in SeededSampler(pairs, seed=seed)]


def fingerprint(item: dict) -> tuple:
    inputs, sample = item['inputs'], item['data_samples']
    tensors = (*inputs.values(), sample.template_box, sample.search_box)
    return (*(t.numpy().tobytes() for t in tensors), str(sorted(sample.metainfo.items())))


def test_an_item_shows_the_target_where_its_box_says():
    pairs = pairs_of(MemorySequences('a', moving(3)), samples_per_epoch=20, **STILL)
    for index in range(20):
        item = pairs[SeededIndex(index, index)]
        inputs, sample = item['inputs'], item['data_samples']
        assert (inputs['template'].shape, inputs['search'].shape) == ((3, 64, 64), (3, 128, 128))
        assert inputs['search'].dtype == torch.uint8
        before, after = sample.frame_ids
        assert before < after
        sequence = int(sample.sequence_name.split('-')[1])
        assert sample.img_path == f'memory/{sequence}/{after:08d}.jpg'
        assert sample.template_path == f'memory/{sequence}/{before:08d}.jpg'
        assert sample.dataset == 'a'
        for crop, box, frame in (
            (inputs['template'], sample.template_box, before),
            (inputs['search'], sample.search_box, after),
        ):
            size = crop.shape[-1]
            x, y, w, h = (box * size).tolist()
            middle = crop[:, int(y + h / 2), int(x + w / 2)]
            assert middle.tolist() == [frame + 20, sequence + 120, 255]
            found = (crop[2] > 180).nonzero()
            low, high = found.min(dim=0).values, found.max(dim=0).values + 1
            # the painted box is rounded to whole pixels of the frame, the crop to those of its own
            grain = size * max(w / size, h / size) / 18 + 1
            edges = torch.stack([low[1], low[0], high[1], high[0]])
            np.testing.assert_allclose(edges, [x, y, x + w, y + h], rtol=0, atol=grain)


def write_frames(root, damage=lambda place, data: data) -> None:
    kinds = [('JPEG', 'RGB', 1), ('JPEG', 'L', 1), ('JPEG', 'RGB', 6), ('PNG', 'RGB', 1)]
    exif, boxes = Image.Exif(), moving(1)[0] * [3, 2, 1, 1] - [55, 55, 0, 0]
    write_lasot_sequence(root, 'cat-1', boxes)
    for place in range(len(boxes)):
        (kind, mode, exif[0x0112]), out = kinds[place % 4], io.BytesIO()
        picture = Image.fromarray(_NOISE[place % 8]).convert(mode)
        picture.save(out, kind, exif=exif, subsampling=place % 3)
        (root / f'cat/cat-1/img/{place + 1:08d}.jpg').write_bytes(damage(place, out.getvalue()))
    (root / 'training_set.txt').write_text('cat-1')


@pytest.mark.parametrize('source', ['folder', 'lmdb'])
def test_windows_give_the_pixels_of_whole_frames(tmp_path, monkeypatch, source: str):
    write_frames(tmp_path)
    where = {'folder': tmp_path, 'lmdb': tmp_path / 'all.lmdb'}
    write_lmdb(tmp_path, where['lmdb'], None)
    one = dict(type='tracking.LaSOT', data_root=str(where[source]), split='train', source=source)
    pairs = PairDataset(sets=[one], samples_per_epoch=60, **SMALL)
    opened = [fingerprint(pairs[SeededIndex(index, index)]) for index in range(60)]
    monkeypatch.delattr(StoredFrames, 'open')
    assert opened == [fingerprint(pairs[SeededIndex(index, index)]) for index in range(60)]


@pytest.mark.parametrize(
    ('cut', 'why'), [(lambda d: d[:-60], 'truncated'), (lambda d: d[:900] + d[-2:], 'damaged')]
)
def test_damaged_frames_are_counted(tmp_path, cut, why: str):
    write_frames(tmp_path, lambda place, data: cut(data) if place % 8 == 0 else data)
    one = dict(type='tracking.LaSOT', data_root=str(tmp_path), split='train')
    wide = {'search': {'size': 64, 'factor': 30.0}}  # a damaged JPEG is told of where all is read
    pairs = PairDataset(sets=[one], samples_per_epoch=40, max_bad=5, **wide)
    assert all(sample.frame_ids[1] % 8 for sample in drawn(pairs))
    with pytest.raises(DatasetError, match=f'(?s)1 image.*{why}.*tracking.PairDataset'):
        drawn(PairDataset(sets=[one], samples_per_epoch=40, **wide))


def test_sets_are_drawn_by_their_ratios():
    sets = [MemorySequences(name, moving(count)) for name, count in (('a', 1), ('b', 9), ('c', 2))]
    pairs = pairs_of(*sets, ratios=[1, 2, 1], samples_per_epoch=600, **SMALL)
    samples = drawn(pairs, 4)
    names, counts = np.unique([sample.dataset for sample in samples], return_counts=True)
    assert names.tolist() == ['a', 'b', 'c']
    expected = np.array([0.25, 0.5, 0.25])
    spread = np.sqrt(expected * (1 - expected) / 600)
    assert (abs(counts / 600 - expected) < 4 * spread).all()
    # and the sequences of a set equally often
    names = [sample.sequence_name for sample in samples if sample.dataset == 'b']
    counts = np.unique(names, return_counts=True)[1]
    assert len(counts) == 9
    assert abs(counts - counts.mean()).max() < 4 * math.sqrt(counts.mean())
    distance = np.array([np.diff(sample.frame_ids)[0] for sample in samples])
    assert distance.min() >= 1


def test_an_image_gives_both_crops(monkeypatch: pytest.MonkeyPatch):
    images = MemorySequences('coco', [one[:1] for one in moving(5)], is_video=False)
    pairs = pairs_of(images, **SMALL)
    kind, load, reads = type(pairs.loader), pairs.loader.transform, []
    monkeypatch.setattr(kind, 'transform', lambda _, x: reads.append(x) or load(x))
    sample = pairs[SeededIndex(0, 0)]['data_samples']
    assert sample.frame_ids == (0, 0)
    assert sample.img_path == sample.template_path
    assert len(reads) == 1


def test_sequences_that_give_no_pairs_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch):
    hidden = np.zeros(40, bool)
    hidden[:4] = True
    boxes = [*moving(2), *moving(1, 19), *moving(1)]
    visible = [np.ones(40, bool), hidden, np.ones(19, bool), np.ones(40, bool)]
    told: list[str] = []
    monkeypatch.setattr(pairs_module, 'print_log', lambda text, logger: told.append(text))
    pairs = pairs_of(MemorySequences('a', boxes, visible), samples_per_epoch=100, **SMALL)
    assert len(told) == 1
    assert 'a: 2 of 4 sequences; 2 are left out, for lack of 5 frames' in told[0]
    assert {sample.sequence_name for sample in drawn(pairs)} == {'a-0', 'a-3'}
    lenient = pairs_of(MemorySequences('a', boxes, visible), min_visible=4, min_frames=19)
    assert len(lenient.usable[0]) == 4


def test_unusable_pairs_are_drawn_again():
    # visible by its flag, but half of the boxes have no area or lie far outside of the frame
    boxes = moving(1)[0]
    boxes[::4, 2] = 0
    boxes[1::4, :2] = 5000
    boxes[2::8] = np.nan
    one = MemorySequences('a', [boxes], [np.ones(40, bool)])
    pairs = pairs_of(one, samples_per_epoch=60, **SMALL)
    used = {frame for sample in drawn(pairs) for frame in sample.frame_ids}
    assert used <= {frame for frame in range(40) if frame % 4 == 3 or frame % 8 == 6}
    assert len(used) > 10


def test_an_unreadable_frame_is_named_or_tolerated_within_the_budget():
    one = MemorySequences('a', moving(1), damaged=(3, 7, 11))

    def draw_all(**options) -> list[int]:
        pairs = pairs_of(one, samples_per_epoch=200, **SMALL, **options)
        return [frame for sample in drawn(pairs, 1) for frame in sample.frame_ids]

    used = draw_all(max_bad=3)
    assert len(used) == 400
    assert not {3, 7, 11} & set(used)
    for options, told in (
        ({}, r'memory/0/\d+.jpg.*does not exist'),
        ({'max_bad': 2}, r'max_bad of tracking\.PairDataset tolerates'),
        ({'max_bad': 3, 'test_mode': True}, 'none may be left out in test mode'),
    ):
        with pytest.raises(DatasetError, match=told):
            draw_all(**options)


def test_items_do_not_depend_on_workers():
    pairs = pairs_of(*TWO, samples_per_epoch=24, **SMALL)
    found = []
    for workers, epoch in ((0, 0), (0, 3), (1, 3), (2, 3)):
        sampler = SeededSampler(pairs, seed=9)
        sampler.set_epoch(epoch)
        options = dict(sampler=sampler, num_workers=workers, collate_fn=lambda items: items)
        loader = DataLoader(pairs, 4, **options)
        found.append([fingerprint(item) for batch in loader for item in batch])
    assert found[1] == found[2] == found[3]
    assert len({*found[0], *found[1]}) == 48


def test_items_depend_on_their_index_alone():
    pairs = pairs_of(*TWO, **SMALL)
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    item = pairs[SeededIndex(5, 5)]
    np.testing.assert_array_equal(np.random.random(3), expected)
    copy = pickle.loads(pickle.dumps(pairs))
    assert fingerprint(copy[SeededIndex(5, 5)]) == fingerprint(item)
    assert len(pairs) == 60000
    assert pairs.metainfo == {'sets': ['a', 'coco']}


def test_validation_sees_the_same_pairs_every_time():
    pairs = pairs_of(*TWO, samples_per_epoch=8, test_mode=True, seed=3, **SMALL)
    first = [fingerprint(pairs[index]) for index in range(8)]
    assert first == [fingerprint(pairs[SeededIndex(index, 99)]) for index in range(8)]
    assert len(set(first)) == 8
    other = pairs_of(*TWO, samples_per_epoch=8, test_mode=True, seed=4, **SMALL)
    assert fingerprint(other[0]) != first[0]
    with pytest.raises(IndexError, match='item 8 of 8'):
        pairs[8]


@pytest.mark.parametrize(
    ('sets', 'options', 'told'),
    [
        ((), {}, 'at least one set'),
        (TWO, {'ratios': [1]}, r'2 set\(s\) and ratios=\[1\]'),
        (TWO, {'ratios': [1, 0]}, 'one positive number a set'),
        (TWO, {'ratios': [1, float('nan')]}, 'one positive number a set'),
        (TWO, {'samples_per_epoch': 0}, 'samples_per_epoch and max_tries must be positive'),
        (TWO, {'min_visible': 1}, 'min_visible at least 2'),
        (TWO, {'mode': 'trident'}, "names 'trident', which is unknown"),
        ((ONE, SHORT), {}, 'b: none of its 3 sequences has 5 frames'),
        ((EMPTY,), {}, 'coco: none of its 1 sequences has a target'),
        ((FAR,), {'max_tries': 7}, r'7 pairs in a row .* usable; the last was far far-0'),
    ],
)
def test_what_gives_no_pairs_is_refused(sets: tuple, options: dict, told: str):
    with pytest.raises(UserError, match=told):
        pairs_of(*sets, **options)[SeededIndex(0, 0)]
