"""Pairs: what is drawn how often, what it shows, and on what it depends."""

import math
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from lightvit_dense.datasets.determinism import SeededIndex, SeededSampler
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from tracking.registry import DATASETS
from tracking.sampling import PairDataset
from tracking.sampling import pairs as pairs_module

from .small_pairs import MemorySequences, moving

SMALL = {'template': {'size': 32}, 'search': {'size': 64}}
STILL = {
    'template': {'size': 64},
    'search': {'size': 128, 'center_jitter': 0.0, 'scale_jitter': 0.0},
    'joint': {},
    'brightness': 0.0,
    'flip': 0.0,
}


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
    boxes = (sample.template_box, sample.search_box, sample.search_padding)
    return (
        *(value.numpy().tobytes() for value in (*inputs.values(), *boxes)),
        *sorted((key, str(value)) for key, value in sample.metainfo.items()),
    )


def fingerprints(loader: DataLoader) -> list[tuple]:
    found = []
    for batch in loader:
        for place, sample in enumerate(batch['data_samples']):
            inputs = {key: value[place] for key, value in batch['inputs'].items()}
            found.append(fingerprint({'inputs': inputs, 'data_samples': sample}))
    return found


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
        assert sample.img_path == f'memory/{sequence}/{after}.jpg'
        assert sample.template_path == f'memory/{sequence}/{before}.jpg'
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


def test_a_set_without_pairs_is_an_error():
    short = MemorySequences('short', moving(3, 10))
    with pytest.raises(DatasetError, match='short: none of its 3 sequences has 5 frames'):
        pairs_of(MemorySequences('a', moving(1)), short)
    empty = MemorySequences('coco', [np.zeros((1, 4))], is_video=False)
    with pytest.raises(DatasetError, match='coco: none of its 1 sequences has a target'):
        pairs_of(empty)


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


def test_a_set_of_unusable_boxes_ends_in_an_error_that_names_it():
    boxes = np.tile([5000.0, 5000, 10, 10], (40, 1))
    pairs = pairs_of(MemorySequences('far', [boxes]), max_tries=7)
    with pytest.raises(DatasetError, match=r'7 pairs in a row .* usable; the last was far far-0'):
        pairs[SeededIndex(0, 0)]


def test_an_unreadable_frame_is_named_or_tolerated_within_the_budget():
    def make(**options) -> PairDataset:
        one = MemorySequences('a', moving(1), damaged=(3, 7, 11))
        return pairs_of(one, samples_per_epoch=200, **SMALL, **options)

    def draw_all(pairs: PairDataset) -> list[int]:
        return [frame for sample in drawn(pairs, 1) for frame in sample.frame_ids]

    with pytest.raises(DatasetError, match=r'memory/0/\d+.jpg.*cannot be decoded'):
        draw_all(make())
    with pytest.raises(DatasetError, match=r'max_bad of tracking\.PairDataset tolerates'):
        draw_all(make(max_bad=2))
    used = draw_all(make(max_bad=3))
    assert len(used) == 400
    assert not {3, 7, 11} & set(used)
    with pytest.raises(DatasetError, match='none may be left out in test mode'):
        draw_all(make(max_bad=3, test_mode=True))


@pytest.fixture(scope='module')
def two_sets() -> tuple[MemorySequences, MemorySequences]:
    images = [one[:1] for one in moving(4)]
    return MemorySequences('a', moving(6)), MemorySequences('coco', images, is_video=False)


def test_items_do_not_depend_on_workers(two_sets: tuple):
    pairs = pairs_of(*two_sets, samples_per_epoch=24, **SMALL)
    found = []
    for workers in (0, 1, 2):
        sampler = SeededSampler(pairs, seed=9)
        sampler.set_epoch(3)
        options = dict(sampler=sampler, num_workers=workers, collate_fn=pseudo_collate)
        found.append(fingerprints(DataLoader(pairs, 4, **options)))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 24
    sampler = SeededSampler(pairs, seed=9)
    other = [fingerprint(pairs[index]) for index in sampler]
    assert not set(other) & set(found[0])


def test_items_depend_on_their_index_alone(two_sets: tuple):
    pairs = pairs_of(*two_sets, **SMALL)
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    item = pairs[SeededIndex(5, 5)]
    np.testing.assert_array_equal(np.random.random(3), expected)
    copy = pickle.loads(pickle.dumps(pairs))
    assert fingerprint(copy[SeededIndex(5, 5)]) == fingerprint(item)
    assert len(pairs) == 60000
    assert pairs.metainfo == {'sets': ['a', 'coco']}


def test_validation_sees_the_same_pairs_every_time(two_sets: tuple):
    pairs = pairs_of(*two_sets, samples_per_epoch=8, test_mode=True, seed=3, **SMALL)
    first = [fingerprint(pairs[index]) for index in range(8)]
    assert first == [fingerprint(pairs[SeededIndex(index, 99)]) for index in range(8)]
    assert len(set(first)) == 8
    other = pairs_of(*two_sets, samples_per_epoch=8, test_mode=True, seed=4, **SMALL)
    assert fingerprint(other[0]) != first[0]
    with pytest.raises(IndexError, match='item 8 of 8'):
        pairs[8]


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        ({'ratios': [1]}, r'2 set\(s\) and ratios=\[1\]'),
        ({'ratios': [1, 0]}, 'one positive number a set'),
        ({'ratios': [1, float('nan')]}, 'one positive number a set'),
        ({'samples_per_epoch': 0}, 'samples_per_epoch and max_tries must be positive'),
        ({'min_visible': 1}, 'min_visible at least 2'),
        ({'mode': 'trident'}, "names 'trident', which is unknown"),
    ],
)
def test_options_that_cannot_be_are_refused(two_sets: tuple, options: dict, told: str):
    with pytest.raises(UserError, match=told):
        pairs_of(*two_sets, **options)
    with pytest.raises(UserError, match='at least one set'):
        PairDataset(sets=[])
