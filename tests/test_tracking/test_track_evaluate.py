"""Metrics of test loops, the tool that judges result files, plots and film strips."""

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator

import tracking  # noqa: F401
from lightvit_dense.apis.testing import _visualization_hook
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import read_predictions
from lightvit_dense.evaluation.joint import class_tables
from lightvit_dense.visualization import PALETTE, line_color
from tests.helpers.processes import in_two_ranks
from tracking.datasets import LaSOT, SequenceDataset, VideoSequence
from tracking.evaluation import Protocol, Truth, score
from tracking.evaluation.collect import TrackerResults, open_source
from tracking.evaluation.got10k import overlaps
from tracking.evaluation.plots import curve_plot
from tracking.registry import DATASETS, HOOKS, METRICS
from tracking.runtime.results import read_result, read_seconds, write_result
from tracking.structures import TrackSample
from tracking.tools.evaluate import main
from tracking.visualization import TRUTH_COLOR, film_strip, outline_targets

from .small_sequences import (
    ArrayFrames,
    write_attributes,
    write_folder,
    write_got10k,
    write_lasot_sequence,
)

ATTRIBUTES = {'cat-1': (0, 4), 'cat-12': (4,), 'dog-3': (12,)}
NAMES = tuple(ATTRIBUTES)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Three sequences of LaSOT's test set, predictions and results of two trackers, truths."""
    root = tmp_path_factory.mktemp('world')
    predictions = {'good': {}, 'bad': {}}
    for seed, name in enumerate(NAMES):
        rng, length = np.random.default_rng(seed), 8 + seed
        corner = np.array([40.0, 30]) + rng.integers(-3, 4, (length, 2)).cumsum(axis=0)
        sizes = rng.integers(15, 30, (length, 2))
        boxes = np.concatenate([np.maximum(corner, 1), sizes], axis=1)
        write_lasot_sequence(root / 'data', name, boxes, occluded=(3,), away=(5,))
        write_attributes(root / 'data', name, ATTRIBUTES[name])
        for tracker, noise in (('good', 2), ('bad', 15)):
            moved = boxes + np.pad(rng.normal(0, noise, (length, 2)), ((0, 0), (0, 2)))
            predictions[tracker][name] = moved
    (root / 'data' / 'testing_set.txt').write_text('\n'.join(NAMES))
    for name, predicted in predictions.items():
        write_tracker(root / 'results' / name, predicted)
    dataset = dataset_of(root)
    return root, predictions, [Truth.of(dataset.sequence(place)) for place in range(3)]


def sequences_of(root):
    return dict(type='tracking.LaSOT', data_root=str(root / 'data'), split='test')


def dataset_of(root, **options):
    kind = 'tracking.SequenceDataset'
    return DATASETS.build(dict(type=kind, sequences=sequences_of(root), **options))


def write_tracker(folder, predictions, layout='lasot'):
    for name, boxes in predictions.items():
        write_result(folder, name, boxes, np.full(len(boxes), 0.05), layout)
    return folder


@pytest.fixture(scope='module')
def samples(world):
    """Samples as a model leaves them in a test loop."""
    found = pseudo_collate(list(dataset_of(world[0])))['data_samples']
    for sample in found:
        sample.boxes = world[1]['bad'][sample.sequence.name]
        sample.seconds = np.full(len(sample.boxes), 0.02)
    return found


def evaluate(samples, kind='tracking.OnePassEvaluation', **options):
    metric = METRICS.build(dict(type=kind, **options))
    metric.process(None, [sample.to_dict() for sample in samples])
    return metric.evaluate(3)


def test_items_are_whole_sequences_or_some_of_them(world):
    dataset = dataset_of(world[0])
    assert (len(dataset), dataset.names) == (3, NAMES)
    batch = pseudo_collate([dataset[1]])
    assert batch['inputs'] == {}
    (sample,) = batch['data_samples']
    assert isinstance(sample, TrackSample)
    assert (sample.sequence_name, sample.dataset) == ('cat-12', 'LaSOT')
    np.testing.assert_array_equal(sample.sequence.boxes, world[2][1].boxes)
    assert dataset_of(world[0], names=['dog-3', 'cat-1']).names == ('dog-3', 'cat-1')
    assert dataset_of(world[0], limit=2).names == NAMES[:2]
    built = LaSOT(str(world[0] / 'data'), split='test')
    for fail, message in (
        (lambda: dataset_of(world[0], names=['dog-2']), "'dog-2'.*Did you mean 'dog-3'"),
        (lambda: dataset_of(world[0], limit=0), 'limit=0'),
        (lambda: SequenceDataset([built, built]), "two sequences are called 'cat-1'"),
    ):
        with pytest.raises(UserError, match=message):
            fail()


def test_metric_in_a_test_loop_equals_the_score(world, samples, tmp_path):
    root, predictions, truths = world
    metric = dict(type='tracking.OnePassEvaluation', out_dir=str(tmp_path), tracker_name='ours')
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dataset_of(root).metainfo
    for sample in samples:
        evaluator.process(data_samples=[sample], data_batch=None)
    figures = evaluator.evaluate(3)
    expected = score([predictions['bad'][name] for name in NAMES], truths)
    assert figures == expected.figures()
    assert 5 < figures['success'] < 95

    (rows,) = class_tables(evaluator).values()
    assert [(row['class'], row['sequences']) for row in rows] == [('cat', 2), ('dog', 1)]
    assert rows[0]['success'] == expected.figures(np.array([0, 1]))['success']
    found = {r['attribute']: r['sequences'] for r in evaluator.metrics[0].attribute_table}
    assert found == {'Illumination Variation': 1, 'Camera Motion': 2, 'Low Resolution': 1}
    for name in NAMES:
        path = tmp_path / 'ours' / f'{name}.txt'
        np.testing.assert_allclose(read_result(path), predictions['bad'][name], atol=5.1e-5)
        assert (read_seconds(path, name) == 0.02).all()
    # Two frames of each sequence are absent.
    counted = evaluate(samples, protocol=dict(exclude_invalid_frames=True))
    assert counted['OP50'] > figures['OP50']
    assert evaluate(samples, toolkit='matlab') == figures


def test_got10ks_metric_reads_the_size_of_the_frames_and_writes_submissions(
    world, samples, tmp_path
):
    predicted, kind = world[1]['bad'], 'tracking.GOT10kMetric'
    # Frames are 16 pixels wide and 12 high.
    for options, size in ((dict(out_dir=str(tmp_path)), (12, 16)), (dict(clip=False), None)):
        wanted = overlaps(list(predicted.values()), world[2], [size] * 3).figures()
        assert evaluate(samples, kind, **options) == wanted
    found = read_result(tmp_path / 'tracker' / 'cat-1' / 'cat-1_001.txt')
    np.testing.assert_allclose(found, predicted['cat-1'], atol=5.1e-5)
    silent = dict(out_dir=str(tmp_path), tracker_name='b', format_only=True)
    assert evaluate(samples, kind, **silent) == {}
    assert (tmp_path / 'b' / 'dog-3' / 'dog-3_time.txt').is_file()
    with pytest.raises(UserError, match='out_dir'):
        evaluate(samples, kind, format_only=True)


def test_dumped_predictions_come_back(samples, tmp_path):
    evaluate(samples, 'lightvit_dense.DumpPredictions', out_file=str(tmp_path / 'a.pkl'))
    found = read_predictions(tmp_path / 'a.pkl')
    assert [entry['sequence_name'] for entry in found] == list(NAMES)
    assert 'sequence' not in found[0]
    np.testing.assert_array_equal(found[0]['boxes'], samples[0].boxes)


def _evaluate_share(rank, samples, folder):
    # As a sampler that evens out shares: the first sequence is shown to both.
    return evaluate([*samples, samples[0]][rank::2], out_dir=str(folder), tracker_name='both')


def test_two_processes_count_every_sequence_once(samples, tmp_path):
    for figures in in_two_ranks(_evaluate_share, tmp_path, samples, tmp_path):
        assert figures == pytest.approx(evaluate(samples))
    assert len(list((tmp_path / 'both').glob('*_time.txt'))) == 3


def test_pair_iou():
    metric = METRICS.build(dict(type='tracking.PairIoU'))
    true = torch.tensor([0.2, 0.2, 0.4, 0.4])
    predicted = [true, true + torch.tensor([0.2, 0, 0, 0])]
    metric.process(None, [dict(pred_box=box, search_box=true) for box in predicted])
    # Half of the width is shared: 1 / 3.
    assert metric.evaluate(2) == pytest.approx(
        {'IoU': 100 * (1 + 1 / 3) / 2, 'IoU50': 50, 'IoU75': 50}, rel=1e-5
    )
    with pytest.raises(UserError, match='predicted boxes are NaN or infinite'):
        metric.process(None, [dict(pred_box=true * torch.nan, search_box=true)])


@pytest.fixture
def copy(world, tmp_path):
    """Results of one tracker that a test may damage."""
    return write_tracker(tmp_path / 'mine', world[1]['good']), f'lasot:{world[0] / "data"}'


def expected(world, name, **kwargs):
    rounded = [np.round(world[1][name][sequence], 4) for sequence in NAMES]
    return score(rounded, world[2], **kwargs).figures()


def test_frames_a_second_are_frames_over_seconds_and_not_got10ks_mean_of_rates(tmp_path):
    seconds = {'a': np.array([9.0, 0.1, 0.4]), 'a_001': np.array([0.2, 0.01])}
    found = TrackerResults('mine', tmp_path / 'a')
    for name, spent in seconds.items():
        found.files[name] = [write_result(tmp_path / 'a', name, np.ones((len(spent), 4)), spent)]
    assert found.speed() == pytest.approx(3 / (0.1 + 0.4 + 0.01))
    rates = 1 / np.concatenate(list(seconds.values()))
    assert rates.mean() > found.speed()  # the toolkit's, first frames included


def test_curves_are_ranked_and_keep_their_colours(world):
    predicted = {name: [world[1][name][one] for one in NAMES] for name in ('bad', 'good')}
    scores = {name: score(boxes, world[2]) for name, boxes in predicted.items()}
    (axes,) = curve_plot(scores, 'success').axes
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == [f'[{scores[n].figures()["success"]:.1f}] {n}' for n in ('good', 'bad')]
    colors = [line.get_color() for line in axes.get_lines()]
    assert colors == [PALETTE[1], PALETTE[0]]  # as given, whichever is the better one


def test_tables_plots_and_files(world, tmp_path, capsys):
    root = world[0]
    results = [str(root / 'results' / name) for name in ('bad', 'good')]
    options = ['--by-class', '--by-attribute', '--by-sequence']
    out = ['--out', str(tmp_path / 'out'), '--json', str(tmp_path / 'all.json')]
    assert main([f'lasot:{root / "data"}', *results, *options, *out]) == 0
    text = capsys.readouterr().out

    def table(name):
        with open(tmp_path / 'out' / f'{name}.csv', newline='') as file:
            return list(csv.DictReader(file))

    figures = {name: expected(world, name) for name in ('good', 'bad')}
    rows = [line for line in text.splitlines() if line.startswith(('good', 'bad'))]
    for row, name in zip(rows[:2], ('good', 'bad'), strict=True):  # the better one first
        assert row.split() == [name, *(f'{v:.1f}' for v in figures[name].values()), '20.0']
    for word in ('By class', 'By attribute', 'By sequence', 'Camera Motion', 'cat-12'):
        assert word in text

    content = json.loads((tmp_path / 'all.json').read_text())
    assert content['trackers']['bad']['figures'] == pytest.approx(figures['bad'])
    assert content['trackers']['good']['frames_per_s'] == pytest.approx(20)
    assert len(content['trackers']['good']['curves']['success']) == 21
    assert (content['sequences'], content['left_out']) == (3, [])
    assert [row['tracker'] for row in table('trackers')] == ['good', 'bad']
    assert float(table('trackers')[1]['success']) == pytest.approx(figures['bad']['success'])
    found = {row['attribute'] for row in table('by_attribute')}
    assert found == {'Illumination Variation', 'Camera Motion', 'Low Resolution'}
    order = [(row['class'], row['tracker']) for row in table('by_class')]
    assert order == [('cat', 'good'), ('cat', 'bad'), ('dog', 'good'), ('dog', 'bad')]
    for path in (tmp_path / 'out').glob('*.png'):
        assert cv2.imread(str(path)).std() > 10
    # The other attributes have one sequence.
    files = {path.name for path in (tmp_path / 'out/attributes').iterdir()}
    assert files == {f'camera_motion_{kind}.png' for kind in ('success', 'precision')}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        *(f'{name}.png' for name in ('success', 'precision', 'norm_precision')),
        *(f'{name}.csv' for name in ('trackers', 'by_sequence', 'by_class', 'by_attribute')),
        'attributes',
    }


def test_a_config_tells_data_and_habits(world, tmp_path):
    config, sequences = tmp_path / 'config.py', sequences_of(world[0])
    loader = dict(dataset=dict(type='tracking.SequenceDataset', sequences=sequences))
    rules = dict(first_frame='exclude')
    metric = dict(type='tracking.OnePassEvaluation', protocol=rules)
    imports = dict(imports=['tracking'], allow_failed_imports=False)
    Config(dict(custom_imports=imports, test_dataloader=loader, test_evaluator=metric)).dump(config)
    results = f'mine={world[0] / "results" / "good"}'

    def figures(*options):
        main([str(config), results, '--json', str(tmp_path / 'a.json'), *options])
        return json.loads((tmp_path / 'a.json').read_text())['trackers']['mine']['figures']

    told = figures()
    assert told == pytest.approx(expected(world, 'good', protocol=Protocol(**rules)))
    assert figures('--toolkit', 'pytracking') == pytest.approx(expected(world, 'good'))
    assert figures('--rule', 'first_frame=truth') == figures('--toolkit', 'pytracking')
    assert told != figures('--rule', 'first_frame=truth')


def test_got10k_reads_its_layout_and_repetitions(world, tmp_path, capsys):
    root, predictions, truths = world
    folder = write_tracker(tmp_path / 'twice', predictions['good'], 'got10k')
    text = '\n'.join(','.join(map(repr, box)) for box in predictions['bad']['cat-1'].tolist())
    (folder / 'cat-1' / 'cat-1_002.txt').write_text(text)
    arguments = [f'lasot:{root / "data"}', str(folder), '--toolkit', 'got10k']
    main([*arguments, '--rule', 'clip=False', '--json', str(tmp_path / 'a.json')])
    rounded = [np.round(predictions['good'][name], 4) for name in NAMES]
    both = [*rounded, predictions['bad']['cat-1']]
    figures = overlaps(both, [*truths, truths[0]], [None] * 4).figures()
    found = json.loads((tmp_path / 'a.json').read_text())['trackers']['twice']
    assert found['figures'] == pytest.approx(figures)
    assert 'SR75' in capsys.readouterr().out
    main([*arguments, '--rule', 'average=classes', '--out', str(tmp_path / 'out')])
    assert (tmp_path / 'out' / 'success.png').is_file()
    assert not (tmp_path / 'out' / 'by_class.csv').exists()
    with pytest.raises(UserError, match='--by-class'):
        main([*arguments, '--by-class'])


def test_missing_and_half_written_results(copy, capsys):
    folder, data = copy
    (folder / 'cat-12.txt').unlink()
    half = (folder / 'dog-3.txt').read_text().splitlines(keepends=True)[:4]
    (folder / 'dog-3.txt').write_text(''.join(half))
    words = r'2 results are missing or not whole(?s:.*)cat-12.txt is missing(?s:.*)dog-3.txt has 4 '
    with pytest.raises(UserError, match=words):
        main([data, str(folder)])
    assert main([data, str(folder), '--allow-missing', '--by-sequence']) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ('1 of 3 sequences', 'cat-1 '))
    assert 'dog-3' not in text
    (folder / 'cat-1.txt').write_text('1,1,5,5\n')
    with pytest.raises(UserError, match='no sequence has a whole result'):
        main([data, str(folder), '--allow-missing'])


def test_damaged_results_name_file_and_line(copy):
    folder, data = copy
    lines = (folder / 'cat-1.txt').read_text().splitlines()
    lines[2] = '1,2,nan,4'
    (folder / 'cat-1.txt').write_text('\n'.join(lines))
    with pytest.raises(UserError, match=r'cat-1\.txt, line 3'):
        main([data, str(folder)])
    # LaSOT's own toolkit takes the box before it.
    assert main([data, str(folder), '--toolkit', 'matlab']) == 0
    lines[0] = lines[1] = 'nan,2,3,4'
    (folder / 'cat-1.txt').write_text('\n'.join(lines))
    with pytest.raises(UserError, match=r'cat-1\.txt, line 1.*none before it'):
        main([data, str(folder), '--toolkit', 'matlab'])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(results='{}x'), "Did you mean 'mine'"),
        (dict(results='{}/..'), r'has no result of any of the 3 .* It has the folders mine'),
        (dict(data='lasott:x'), "Did you mean 'lasot'"),
        (dict(data='nothing'), 'neither a config'),
        (dict(data='{}'), "is 'CocoDataset'"),
        (dict(more=['--rule', 'first_frame']), 'is not KEY=VALUE'),
        (dict(more=['--rule', 'first_frme=truth']), "Did you mean 'first_frame'"),
        (dict(more=['--toolkit', 'got10k', '--rule', 'pixels=inclusive']), 'average .*, clip'),
        (dict(more=['--cfg-options', 'a=1']), 'none is given'),
        (dict(more=['{}']), "two trackers are called 'mine'"),
    ],
)
def test_wrong_arguments(copy, change, message):
    folder, data = copy
    other = folder.parent / 'other.py'
    other.write_text("test_dataloader = dict(dataset=dict(type='CocoDataset'))")
    words = [change.get('results', '{}'), *change.get('more', [])]
    with pytest.raises(UserError, match=message):
        main([change.get('data', data).format(other), *(word.format(folder) for word in words)])


def test_got10k_validation_set(tmp_path):
    write_got10k(tmp_path / 'data')
    (tmp_path / 'data' / 'train').rename(tmp_path / 'data' / 'val')
    source, _ = open_source(f'got10k:{tmp_path / "data"}')
    sequences = [source.sequence(place) for place in range(len(source))]
    moved = {one.name: one.boxes + np.array([1, 0, 0, 0]) for one in sequences}
    folder = write_tracker(tmp_path / 'ours', moved, 'got10k')
    # The toolkit looks at the cover alone.
    truths = [Truth(s.name, s.boxes, ~s.gone['no_cover'], s.class_name) for s in sequences]
    predicted = [np.round(boxes, 4) for boxes in moved.values()]
    for data in (f'got10k:{tmp_path / "data"}', f'got10k:{tmp_path / "data"}:val'):
        main([data, str(folder), '--json', str(tmp_path / 'a.json')])
        found = json.loads((tmp_path / 'a.json').read_text())['trackers']['ours']
        assert found['figures'] == overlaps(predicted, truths, [(12, 16)] * 5).figures()
        assert [row['frames'] for row in found['sequences']] == [2] * 5


def write_own(root, truth, flags=None, names=('walk',)):
    """Sequences of four frames in the layout of one's own, and results that are always right."""
    for name in names:
        folder = write_folder(root / 'data' / name, [np.full((40, 60, 3), 50, np.uint8)] * 4)
        (folder / 'groundtruth.txt').write_text(truth)
        if flags:
            (folder / 'absence.label').write_text(flags)
        write_result(root / 'mine', name, np.tile([10.0, 10, 20, 15], (4, 1)))
    return [f'custom:{root / "data"}', str(root / 'mine')]


BOX, GONE = '10,10,20,15\n', '0,0,0,0\n'


def test_truth_without_an_area_is_an_absent_target_with_flags_and_without(tmp_path):
    found = []
    for flags, gone in ((None, GONE), ('0 1 1 1', GONE), (None, 'nan,nan,nan,nan\n')):
        root = tmp_path / f'{len(found)}'
        words = write_own(root, BOX + 3 * gone, flags)
        main([*words, '--json', str(root / 'a.json')])
        found.append(json.loads((root / 'a.json').read_text())['trackers']['mine']['figures'])
    assert found[0]['norm_precision'] == 25
    assert found == [found[0]] * 3


@pytest.mark.parametrize(
    ('truth', 'result', 'more', 'message'),
    [
        (GONE + 3 * BOX, None, (), r'first box of walk is \[0.0, 0.0, 0.0, 0.0\], which cannot'),
        ('nan 1 2 3\n' + 3 * BOX, None, (), 'first box of walk is .*Correct the first line'),
        (4 * BOX, 2 * BOX + '\n' + BOX, (), r'walk.txt, line 3: is blank.* 3 boxes for 4 frames'),
        (4 * BOX, BOX + '\n' + 2 * BOX, ('--rule', 'shorter=zeros'), 'line 2: is blank'),
        (5 * BOX, 5 * BOX, (), "lengths='shortest'"),
        (4 * BOX, None, ('--data-options', 'length=shortest'), "no argument 'length'.*'lengths'"),
        (4 * BOX, None, ('--data-options', 'lengths'), 'is not KEY=VALUE'),
    ],
)
def test_ones_own_truth_and_results_that_are_refused(tmp_path, truth, result, more, message):
    words = write_own(tmp_path, truth)
    if result:
        (tmp_path / 'mine/walk.txt').write_text(result)
    with pytest.raises(UserError, match=message):
        main([*words, *more])


def test_errors_advise_what_can_be_set(tmp_path, capsys):
    words = write_own(tmp_path, 5 * '11,11,20,15\n')
    assert main([*words, '--data-options', 'lengths=shortest', 'first_pixel=1']) == 0
    assert '95.2' in capsys.readouterr().out  # all thresholds but the last, an overlap of 1
    (tmp_path / 'a.py').write_text('')
    with pytest.raises(UserError, match=r'--cfg-options test_dataloader\.dataset\.sequences'):
        main([str(tmp_path / 'a.py'), words[1], '--data-options', 'lengths=shortest'])


def test_results_that_share_a_file_are_refused(tmp_path):
    words = write_own(tmp_path, 4 * BOX, names=('walk', 'walk_time'))
    with pytest.raises(UserError, match=r"'walk' and 'walk_time' share walk_time\.txt"):
        main(words)


SIZE = (60, 100)
CAPTION = 22  # pixels below a frame


def make_sequence(count=5, absent=()):
    boxes = np.tile([20.0, 10, 30, 20], (count, 1))
    visible = np.ones(count, bool)
    visible[list(absent)] = False
    boxes[~visible] = 0
    attributes = ('Out-of-View',) if absent else ()
    frames = ArrayFrames([np.full((*SIZE, 3), 10 * i, np.uint8) for i in range(count)])
    return VideoSequence('cup-1', frames, boxes, visible, 'X', 'cup', attributes)


def painted(picture, color):
    """Return left, top, right, bottom of the pixels of a colour, edges."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_truth_and_trackers_have_their_places_and_colours():
    drawn = outline_targets(np.full((40, 50, 3), 128, np.uint8), [10, 5, 20, 12], [(255, 0, 0)])
    assert painted(drawn, (255, 0, 0)) == (10, 5, 30, 17)
    assert painted(drawn, (0, 0, 0)) == (9, 4, 31, 18)
    sequence = make_sequence()
    shifted = sequence.boxes + np.array([30, 15, 0, 0])
    picture = film_strip(sequence, {'a': sequence.boxes, 'b': shifted}, [3], tile_width=200)
    head = picture.shape[0] - 2 * SIZE[0] - CAPTION
    tile = picture[head : head + 2 * SIZE[0]]
    assert (tile[5, 5] == 30).all()  # frame 3, twice as large
    # The first tracker's box lies on that of the truth and hides it.
    for place, edges in enumerate(([40, 20, 100, 60], [100, 50, 160, 90])):
        np.testing.assert_allclose(painted(tile, line_color(place)), edges, atol=1)
    assert not (tile == TRUTH_COLOR).all(axis=2).any()
    for color in (TRUTH_COLOR, line_color(0), line_color(1)):
        assert (picture[:head] == color).all(axis=2).any()  # the legend


def test_hook_draws_tested_sequences_and_no_more_than_asked(tmp_path):
    config = dict(type='tracking.FilmStripHook', out_dir=str(tmp_path), max_images=1, frames=2)
    samples = [TrackSample(), TrackSample()]
    for sample, name in zip(samples, ('one', 'two'), strict=True):
        sample.sequence = replace(make_sequence(), name=name)
        sample.boxes = sample.sequence.boxes
    HOOKS.build(config).after_test_iter(SimpleNamespace(), 0, outputs=samples)
    assert [path.name for path in tmp_path.iterdir()] == ['one.png']
    assert cv2.imread(str(tmp_path / 'one.png')).shape[1] == 2 * 200 + 4
    hook = HOOKS.build({**config, 'max_images': None})
    strange = TrackSample(metainfo=dict(img_path='a'))
    with pytest.raises(UserError, match=r'draws whole sequences.*have img_path'):
        hook.after_test_iter(SimpleNamespace(), 0, outputs=[strange])


def test_a_config_names_its_hook():
    plain = dict(type='lightvit_dense.PredictionVisualizationHook', out_dir='out', max_images=3)
    assert _visualization_hook(Config(dict()), 'out', 3) == plain
    cfg = Config(dict(visualization_hook=dict(type='tracking.FilmStripHook', frames=5)))
    chosen = _visualization_hook(cfg, 'out', None)
    assert chosen == dict(type='tracking.FilmStripHook', frames=5, out_dir='out', max_images=None)


def test_strips_of_some_sequences_are_drawn(tmp_path, capsys):
    data, results = write_own(tmp_path, 4 * BOX, names=('a', 'b'))
    out = tmp_path / 'pictures'
    assert main([data, f'it={results}', '--out', str(out), '--strips', '9']) == 0
    assert f'written: {out}/strips.png' in capsys.readouterr().out
    picture = cv2.imread(str(out / 'strips.png'))
    assert (picture == line_color(0)[::-1]).all(axis=2).any()
    sequence = make_sequence()
    for fail, message in (
        (lambda: film_strip(sequence, {'a': sequence.boxes[:4]}), r'cup-1: a .* \[4, 4\] for 5 f'),
        (lambda: film_strip(sequence, {}, [1, 9]), r'frames 0 to 4, cannot draw \[9\]'),
    ):
        with pytest.raises(UserError, match=message):
            fail()
