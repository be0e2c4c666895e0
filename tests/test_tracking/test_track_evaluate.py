"""The tool that judges result files."""

import csv
import json

import cv2
import numpy as np
import pytest

from lightvit_dense.errors import UserError
from tracking.evaluation import Truth, score
from tracking.evaluation.collect import TrackerResults, open_source
from tracking.evaluation.got10k import overlaps
from tracking.runtime.results import write_result
from tracking.tools.evaluate import main

from .small_results import NAMES, predict, write_tracker, write_world
from .small_sequences import write_got10k


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world')
    boxes = write_world(root / 'data')
    predictions = {'good': predict(boxes, 2), 'bad': predict(boxes, 15)}
    for name, predicted in predictions.items():
        write_tracker(root / 'results' / name, predicted)
    source, _ = open_source(f'lasot:{root / "data"}')
    truths = [Truth.of(source.sequence(place)) for place in range(len(source))]
    return root, predictions, truths


@pytest.fixture
def copy(world, tmp_path):
    """Results of one tracker that a test may damage."""
    return write_tracker(tmp_path / 'mine', world[1]['good']), f'lasot:{world[0] / "data"}'


def expected(world, name, **kwargs):
    rounded = [np.round(world[1][name][sequence], 4) for sequence in NAMES]
    return score(rounded, world[2], **kwargs).figures()


def test_frames_a_second_are_frames_over_seconds_and_not_got10ks_mean_of_rates(tmp_path):
    seconds = {'a': np.array([9.0, 0.1, 0.4]), 'b': np.array([0.2, 0.01])}
    found = TrackerResults('mine', tmp_path)
    for name, spent in seconds.items():
        found.files[name] = [write_result(tmp_path, name, np.ones((len(spent), 4)), spent)]
    assert found.speed() == pytest.approx(3 / (0.1 + 0.4 + 0.01))
    rates = 1 / np.concatenate(list(seconds.values()))
    assert rates.mean() > found.speed()  # the toolkit's, first frames included


def test_tables_plots_and_files(world, tmp_path, capsys):
    root = world[0]
    results = [str(root / 'results' / name) for name in ('bad', 'good')]
    options = ['--by-class', '--by-attribute', '--by-sequence']
    out = ['--out', str(tmp_path / 'out'), '--json', str(tmp_path / 'all.json')]
    assert main([f'lasot:{root / "data"}', *results, *options, *out]) == 0
    text = capsys.readouterr().out
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
    with open(tmp_path / 'out' / 'trackers.csv', newline='') as file:
        written = list(csv.DictReader(file))
    assert [row['tracker'] for row in written] == ['good', 'bad']
    assert float(written[1]['success']) == pytest.approx(figures['bad']['success'])
    with open(tmp_path / 'out' / 'by_attribute.csv', newline='') as file:
        found = {row['attribute'] for row in csv.DictReader(file)}
    assert found == {'Illumination Variation', 'Camera Motion', 'Low Resolution'}
    with open(tmp_path / 'out' / 'by_class.csv', newline='') as file:
        order = [(row['class'], row['tracker']) for row in csv.DictReader(file)]
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


CONFIG = """
custom_imports = dict(imports=['tracking'], allow_failed_imports=False)
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type='tracking.SequenceDataset',
        sequences=dict(type='tracking.LaSOT', data_root={root!r}, split='test')))
test_evaluator = dict(type='tracking.OnePassEvaluation', protocol=dict(first_frame='exclude'))
"""


def test_a_config_tells_data_and_habits(world, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(root=str(world[0] / 'data')))
    results = f'mine={world[0] / "results" / "good"}'

    def figures(*options):
        main([str(config), results, '--json', str(tmp_path / 'a.json'), *options])
        return json.loads((tmp_path / 'a.json').read_text())['trackers']['mine']['figures']

    from tracking.evaluation import Protocol

    told = figures()
    assert told == pytest.approx(expected(world, 'good', protocol=Protocol(first_frame='exclude')))
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
    with pytest.raises(UserError) as error:
        main([data, str(folder)])
    assert '2 results are missing or not whole' in str(error.value)
    assert 'cat-12.txt is missing' in str(error.value)
    assert 'dog-3.txt has 4 boxes for 10 frames' in str(error.value)
    assert main([data, str(folder), '--allow-missing', '--by-sequence']) == 0
    text = capsys.readouterr().out
    assert '1 of 3 sequences' in text
    assert 'cat-1 ' in text
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
        (dict(more=['--rule', 'first_frame']), 'NAME=VALUE'),
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
