"""Metrics of test and validation loops, and the data set of whole sequences."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator

import tracking  # noqa: F401
from lightvit_dense.compat import finish_distributed
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import read_predictions
from lightvit_dense.evaluation.joint import class_tables
from tracking.datasets import LaSOT, SequenceDataset
from tracking.evaluation import OnePassEvaluation, Truth, score
from tracking.registry import DATASETS, METRICS
from tracking.runtime.results import read_result, read_seconds
from tracking.structures import TrackSample

from .small_results import NAMES, predict, write_world
from .small_sequences import in_processes


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('lasot')
    return root, write_world(root)


def dataset_of(root, **kwargs):
    sequences = dict(type='tracking.LaSOT', data_root=str(root), split='test')
    return DATASETS.build(dict(type='tracking.SequenceDataset', sequences=sequences, **kwargs))


def tracked(dataset, predictions):
    """Fill in boxes as a model does in a test loop."""
    samples = []
    for place in range(len(dataset)):
        sample = pseudo_collate([dataset[place]])['data_samples'][0]
        sample.set_field(predictions[sample.sequence.name], 'boxes')
        sample.set_field(np.full(len(sample.boxes), 0.02), 'seconds')
        samples.append(sample)
    return samples


def test_items_are_whole_sequences(world):
    dataset = dataset_of(world[0])
    assert (len(dataset), dataset.names) == (3, NAMES)
    batch = pseudo_collate([dataset[1]])
    assert batch['inputs'] == {}
    (sample,) = batch['data_samples']
    assert isinstance(sample, TrackSample)
    assert (sample.sequence_name, sample.dataset) == ('cat-12', 'LaSOT')
    np.testing.assert_array_equal(sample.sequence.boxes, world[1]['cat-12'])
    assert [item['data_samples'].sequence_name for item in dataset] == list(NAMES)


def test_some_sequences_only(world):
    assert dataset_of(world[0], names=['dog-3', 'cat-1']).names == ('dog-3', 'cat-1')
    assert dataset_of(world[0], limit=2).names == NAMES[:2]
    with pytest.raises(UserError, match=r"no sequence 'dog-2'.*Did you mean 'dog-3'"):
        dataset_of(world[0], names=['dog-2'])
    with pytest.raises(UserError, match='limit=0'):
        dataset_of(world[0], limit=0)
    built = LaSOT(str(world[0]), split='test')
    with pytest.raises(UserError, match="two sequences are called 'cat-1'"):
        SequenceDataset([built, built])


def test_metric_in_a_test_loop_equals_the_score(world, tmp_path):
    dataset, predictions = dataset_of(world[0]), predict(world[1], 6)
    metric = dict(type='tracking.OnePassEvaluation', out_dir=str(tmp_path), tracker_name='ours')
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dataset.metainfo
    for sample in tracked(dataset, predictions):
        evaluator.process(data_samples=[sample], data_batch=None)
    figures = evaluator.evaluate(len(dataset))
    truths = [Truth.of(dataset.sequence(place)) for place in range(3)]
    expected = score([predictions[name] for name in NAMES], truths)
    assert figures == expected.figures()
    assert 5 < figures['success'] < 95

    (rows,) = class_tables(evaluator).values()
    assert [(row['class'], row['sequences']) for row in rows] == [('cat', 2), ('dog', 1)]
    assert rows[0]['success'] == expected.figures(np.array([0, 1]))['success']
    found = {r['attribute']: r['sequences'] for r in evaluator.metrics[0].attribute_table}
    assert found == {'Illumination Variation': 1, 'Camera Motion': 2, 'Low Resolution': 1}
    for name in NAMES:
        path = tmp_path / 'ours' / f'{name}.txt'
        np.testing.assert_allclose(read_result(path), predictions[name], atol=5.1e-5)
        assert (read_seconds(path) == 0.02).all()


def test_rules_of_the_metric(world):
    samples = [s.to_dict() for s in tracked(dataset_of(world[0]), predict(world[1], 6))]

    def figures(**kwargs):
        metric = OnePassEvaluation(**kwargs)
        metric.process(None, samples)
        return metric.evaluate(3)

    counted = figures(protocol=dict(exclude_invalid_frames=True))
    everything = figures()
    # Two frames of each sequence are absent.
    assert counted['OP50'] > everything['OP50']
    assert figures(toolkit='matlab') == everything


def test_dumped_predictions_come_back(world, tmp_path):
    predictions = predict(world[1], 6)
    dump = dict(type='lightvit_dense.DumpPredictions', out_file=str(tmp_path / 'a.pkl'))
    metric = METRICS.build(dump)
    metric.process(None, [s.to_dict() for s in tracked(dataset_of(world[0]), predictions)])
    metric.evaluate(3)
    found = read_predictions(tmp_path / 'a.pkl')
    assert [entry['sequence_name'] for entry in found] == list(NAMES)
    assert 'sequence' not in found[0]
    np.testing.assert_array_equal(found[0]['boxes'], predictions['cat-1'])


def _rank(rank, ranks, root, predictions, folder):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=ranks
    )
    metric = OnePassEvaluation(out_dir=str(folder), tracker_name='both')
    samples = [sample.to_dict() for sample in tracked(dataset_of(root), predictions)]
    # As a sampler that evens out shares: the first sequence is shown to both.
    metric.process(None, (samples + samples[:1])[rank::ranks])
    torch.save(metric.evaluate(3), folder / f'{rank}.pt')
    finish_distributed()


def test_two_processes_count_every_sequence_once(world, tmp_path):
    predictions = predict(world[1], 6)
    in_processes(_rank, *((rank, 2, world[0], predictions, tmp_path) for rank in range(2)))
    alone = OnePassEvaluation()
    alone.process(None, [s.to_dict() for s in tracked(dataset_of(world[0]), predictions)])
    expected = alone.evaluate(3)
    for rank in range(2):
        assert torch.load(tmp_path / f'{rank}.pt') == pytest.approx(expected)
    assert len(list((tmp_path / 'both').glob('*_time.txt'))) == 3


def test_pair_iou():
    metric = METRICS.build(dict(type='tracking.PairIoU'))
    true = torch.tensor([0.2, 0.2, 0.4, 0.4])
    predicted = [true, true + torch.tensor([0.2, 0, 0, 0]), true * torch.nan]
    metric.process(None, [dict(pred_box=box, search_box=true) for box in predicted])
    # Half of the width is shared: 1 / 3. What is no number overlaps nothing.
    assert metric.evaluate(3) == pytest.approx(
        {'IoU': 100 * (1 + 1 / 3) / 3, 'IoU50': 100 / 3, 'IoU75': 100 / 3}, rel=1e-5
    )
