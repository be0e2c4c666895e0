"""Result files, and running over a data set: resumed, in parallel, with damage, by a test loop."""

import functools
import json
import operator
import re
import shutil
import zipfile
from dataclasses import replace
from unittest.mock import MagicMock as Mock

import numpy as np
import pytest
import torch
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.errors import UserError
from lightvit_dense.utils.worker_pool import serve_all
from tracking.datasets import whole
from tracking.datasets.frames import read_ahead
from tracking.engine.dataset_run import SETTINGS, build_sequences
from tracking.engine.sequence_loop import track_sequence
from tracking.runtime.results import (
    ResultError,
    check_names,
    find_result,
    is_complete,
    read_result,
    read_seconds,
    write_result,
    write_submission,
)
from tracking.runtime.tracker import Tracker
from tracking.tools import run_dataset as tool

from .small_sequences import moving_target, write_lasot_sequence
from .small_tracker import CONFIG, small_tracker

BOXES = np.array([[0, 0, 1, 1], [1.5, -0.00001, 20.123456, 7], [100, 200.25, 3, 0]])


def test_lasot_text(tmp_path):
    path = write_result(tmp_path / 'ours', 'cat-1', BOXES, [0.5, 0.25, 0.125])
    assert path == tmp_path / 'ours' / 'cat-1.txt'
    assert {file.name: file.read_text() for file in path.parent.iterdir()} == {
        'cat-1.txt': '0,0,1,1\n1.5,0,20.1235,7\n100,200.25,3,0\n',
        'cat-1_time.txt': '0.50000000\n0.25000000\n0.12500000\n',
    }
    np.testing.assert_allclose(read_result(path), BOXES, atol=5e-5)
    np.testing.assert_array_equal(read_seconds(path, 'cat-1'), [0.5, 0.25, 0.125])


def test_scores_and_lost_targets(tmp_path):
    scores = [1, 0.25, 0.5]
    write_result(tmp_path, 'a', BOXES, scores=scores)
    write_result(tmp_path, 'b', BOXES, scores=scores, lost_below=0.5)
    assert (tmp_path / 'a_score.txt').read_text() == '1.00000000\n0.25000000\n0.50000000\n'
    lost = np.loadtxt(tmp_path / 'b_score.txt', delimiter=',')
    np.testing.assert_array_equal(lost, np.transpose([scores, [0, 1, 0]]))


@pytest.mark.parametrize(
    ('names', 'layout', 'file'),
    [
        (('walk', 'walk_time'), 'lasot', 'walk_time.txt'),
        (('walk_score', 'run', 'walk'), 'lasot', 'walk_score.txt'),
        (('Walk', 'walk'), 'lasot', 'walk.txt'),
        (('Walk_Time', 'walk'), 'lasot', 'walk_time.txt'),
        (('caf\u00e9', 'cafe\u0301'), 'got10k', 'cafe\u0301/cafe\u0301_001.txt'),
        (('walk', 'walk_time', 'walk_001'), 'got10k', None),
        (('walk', 'walk_001', 'walk-time'), 'lasot', None),
    ],
)
def test_names_that_share_a_file_are_told_before_the_work(names, layout, file):
    if file is None:
        check_names(names, layout)
        return
    with pytest.raises(ResultError, match=f'share {file}, a file of their results; rename'):
        check_names(names, layout)


def test_got10k_layout_and_archive(tmp_path):
    name = 'GOT-10k_Test_000001'
    path = write_result(tmp_path / 'ours', name, BOXES, [1, 2, 3], layout='got10k')
    assert path == tmp_path / 'ours' / name / f'{name}_001.txt'
    assert (path.parent / f'{name}_time.txt').is_file()
    np.testing.assert_array_equal(read_seconds(path, name), [1, 2, 3])
    assert find_result(tmp_path / 'ours', name) == path
    archive = write_submission(tmp_path / 'ours', [name], tmp_path / 'ours.zip')
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == [f'{name}/{name}_001.txt', f'{name}/{name}_time.txt']
        assert packed.read(f'{name}/{name}_001.txt') == path.read_bytes()
    with pytest.raises(ResultError, match='GOT-10k_Test_000002'):
        write_submission(tmp_path / 'ours', [name, 'GOT-10k_Test_000002'], tmp_path / 'no.zip')
    assert not (tmp_path / 'no.zip').exists()


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        ('1,2,3,4\n\n1,x,3,4\n', "line 3: 'x' is no number"),
        ('1,2,3,4\n1,2,3,4,5\n1,2,3\n', 'line 2: has 5 numbers instead of 4'),
        ('1,2,3,4\n\n1,2,nan,4\n', 'line 3: .* not finite'),
        ('1,2,3,-4\n', 'line 1: .*negative size'),
        ('', 'is empty; delete it'),
    ],
)
def test_damaged_files_are_named_and_taken_for_unfinished(tmp_path, text, why):
    path = write_result(tmp_path, 'bad', BOXES)
    assert (is_complete(path, 3), is_complete(path, 4)) == (True, False)
    path.write_bytes(path.read_bytes()[:-1])  # the last number may be cut
    assert not is_complete(path, 3)
    path.write_text(text)
    with pytest.raises(ResultError, match=rf'bad\.txt.* {why}'):
        read_result(path)
    assert not is_complete(path, text.count('\n'))
    assert not is_complete(tmp_path / 'b.txt', 3)


@pytest.mark.parametrize(
    ('name', 'boxes', 'more', 'why'),
    [
        *((name, BOXES, (), 'no name of a sequence') for name in ('', '../a', '/a', 'a/../../b')),
        ('a\\b', BOXES, (), 'no name of a sequence'),
        ('a', [[0, 0, 1, 1], [0, 0, np.nan, 1]], (), 'box of frame 1 is not finite'),
        ('a', np.zeros((0, 4)), (), 'boxes of shape'),
        ('a', BOXES, ([1.0],), 'times of shape'),
        ('a', BOXES, (None, 'otb'), "layout 'otb'"),
    ],
)
def test_wrong_results_are_not_written(tmp_path, name, boxes, more, why):
    with pytest.raises(ResultError, match=why):
        write_result(tmp_path / 'ours', name, boxes, *more)
    assert not list(tmp_path.iterdir())


NAMES, LENGTHS = [f'square-{number}' for number in (1, 2, 3)], (5, 3, 4)


def write_lasot(root):
    for number, (name, length) in enumerate(zip(NAMES, LENGTHS, strict=True)):
        frames, boxes = moving_target(length, seed=number)
        write_lasot_sequence(root, name, boxes, frames=frames)
    (root / 'testing_set.txt').write_text('\n'.join(NAMES) + '\n')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A config, a checkpoint of random weights and sequences; nobody changes them."""
    folder = tmp_path_factory.mktemp('world')
    write_lasot(folder / 'lasot')
    places = dict(data_root=str(folder / 'lasot'), cache_dir=str(folder / 'cache'))
    sequences = dict(type='tracking.LaSOT', split='test', **places)
    dataset = dict(type='tracking.SequenceDataset', sequences=sequences)
    sampler = dict(type='tracking.LongestFirstSampler')
    metric = dict(type='tracking.OnePassEvaluation', out_dir=str(folder), tracker_name='loop')
    cfg = Config.fromstring(CONFIG, '.py')
    cfg.test_dataloader = dict(batch_size=1, num_workers=0, sampler=sampler, dataset=dataset)
    cfg.test_cfg = dict(type='tracking.SequenceTestLoop', decode_workers=2)
    cfg.test_evaluator = metric
    cfg.dump(folder / 'tiny.py')
    torch.save(dict(state_dict=small_tracker().state_dict()), folder / 'tiny.pth')
    return folder


def run(world, out, *words):
    options = ['--out', str(out), '--device', 'cpu', '--threads', '1', *map(str, words)]
    return tool.main([str(world / 'tiny.py'), str(world / 'tiny.pth'), *options])


@pytest.fixture(scope='module')
def reference(world, tmp_path_factory):
    """The folder of a whole run in one process."""
    out = tmp_path_factory.mktemp('reference')
    assert run(world, out) == 0
    return out / 'tiny'


@pytest.mark.parametrize(('rank', 'wanted'), [(0, [0, 4]), (1, [1, 2, 3])])
def test_the_longest_sequences_are_dealt_out_first(monkeypatch, rank, wanted):
    monkeypatch.setattr(whole, 'get_dist_info', lambda: (rank, 2))
    dataset = Mock(sequence=lambda index: 'f' * (90, 20, 50, 30, 5)[index], __len__=lambda _: 5)
    assert whole.LongestFirstSampler(dataset) == wanted


@pytest.mark.parametrize('workers', [0, 3])
def test_frames_are_decoded_ahead_in_order(world, workers):
    frames = build_sequences(apis.load_config(world / 'tiny.py')).sequence(0).frames
    found = list(read_ahead(frames, workers))
    np.testing.assert_array_equal(found, [frames.read(index) for index in range(5)])
    with pytest.raises(UserError, match=r'00000006\.jpg does not exist'):
        list(read_ahead(replace(frames, length=6), workers))


def test_every_sequence_is_written(world, reference, tmp_path):
    tracker = Tracker(world / 'tiny.py', world / 'tiny.pth', 'cpu', threads=1)
    dataset = build_sequences(apis.load_config(world / 'tiny.py'))
    metrics = apis.test(world / 'tiny.py', world / 'tiny.pth', tmp_path / 'work')
    assert 0 <= metrics['success'] <= 100
    for index, (name, length) in enumerate(zip(NAMES, LENGTHS, strict=True)):
        path = reference / f'{name}.txt'
        assert is_complete(path, length)
        boxes, *_ = track_sequence(tracker, dataset.sequence(index))
        np.testing.assert_allclose(read_result(path), boxes, atol=5e-5)
        assert (read_seconds(path, name) > 0).all()
        # The test loop writes the same.
        looped = read_result(world / 'loop' / path.name)
        np.testing.assert_allclose(looped, read_result(path), atol=1e-3)
    stored = json.loads((reference / SETTINGS).read_text())['settings']
    assert (len(stored['checkpoint']), stored['backend']) == (64, 'torch')


def test_finished_files_are_kept_and_others_redone(world, reference, tmp_path, capsys):
    folder = shutil.copytree(reference, tmp_path / 'tiny')
    kept, cut, gone = (folder / f'{name}.txt' for name in NAMES)
    write_result(folder, NAMES[0], read_result(kept) + np.eye(5, 4, -1))
    marked = kept.read_bytes()
    cut.write_bytes(cut.read_bytes()[:-3])
    gone.unlink()
    assert run(world, tmp_path) == 0
    assert kept.read_bytes() == marked
    for path in (cut, gone):
        assert path.read_bytes() == (reference / path.name).read_bytes()
    assert '2 sequences tracked, 1 kept, 0 failed; 12 frames' in capsys.readouterr().out


def test_other_settings_are_not_mixed(world, tmp_path):
    assert run(world, tmp_path, '--limit', 1) == 0
    assert [path.name for path in (tmp_path / 'tiny').glob('square-?.txt')] == ['square-1.txt']
    assert run(world, tmp_path, '--sequences', NAMES[2]) == 0
    assert (tmp_path / 'tiny' / 'square-3.txt').is_file()
    for words, told in (
        (('--cfg-options', 'model.search_factor=3.0'), 'of another model; take another'),
        (('--backend', 'plain', '--format', 'got10k'), 'of another backend and layout'),
    ):
        with pytest.raises(UserError, match=f'results {told}'):
            run(world, tmp_path, *words)
    assert run(world, tmp_path, '--backend', 'plain', '--limit', 1, '--name', 'plain') == 0
    found, plain = (read_result(tmp_path / name / 'square-1.txt') for name in ('tiny', 'plain'))
    np.testing.assert_allclose(found, plain, atol=0.5)
    (tmp_path / 'plain' / SETTINGS).unlink()
    with pytest.raises(UserError, match=r'no settings\.json says of what'):
        run(world, tmp_path, '--backend', 'plain', '--name', 'plain')


def test_ones_own_sequences(world, tmp_path, capsys):
    """The same frames in another layout; then with a threshold, other data, names that clash."""
    own = tmp_path / 'own'
    frames = world / 'lasot/square/square-3'
    shutil.copytree(frames, own / 'square')
    (own / 'square/groundtruth.txt').write_text((frames / 'groundtruth.txt').read_text())
    words = ('--data', f'custom:{own}')
    assert run(world, tmp_path, *words) == 0
    found = read_result(tmp_path / 'tiny/square.txt')
    assert len(np.loadtxt(tmp_path / 'tiny/square_score.txt')) == len(found) == 4
    assert run(world, tmp_path, *words, '--name', 'lost', '--lost-below', 1) == 0
    lost = np.loadtxt(tmp_path / 'lost/square_score.txt', delimiter=',')
    assert lost[:, 1].tolist() == [0, 1, 1, 1]
    with pytest.raises(UserError, match='results of another lost_below'):
        run(world, tmp_path, *words, '--name', 'lost')
    text = (own / 'square/groundtruth.txt').read_text()
    (own / 'square/groundtruth.txt').write_text(f'1{text}')
    with pytest.raises(
        UserError, match=r'square\.txt begins with the box .* of other data or of an'
    ):
        run(world, tmp_path, *words)
    shutil.copytree(own / 'square', own / 'square_score')
    with pytest.raises(UserError, match="'square' and 'square_score' share"):
        run(world, tmp_path / 'new', *words)
    assert not (tmp_path / 'new').exists()
    for option, told in (
        ('.type=tracking.CustomSequences', r"has no argument 'split'\. It has .*lengths"),
        ('=nothing', "sequences: is a dict in the config, not 'nothing'"),
    ):
        words = ('--cfg-options', f'test_dataloader.dataset.sequences{option}')
        with pytest.raises(UserError, match=told):
            run(world, tmp_path / 'new', *words)


def test_a_test_loop_refuses_names_that_share_a_file(world, tmp_path):
    cfg = apis.load_config(world / 'tiny.py')
    folder = shutil.copytree(world / 'lasot/square/square-1', tmp_path / 'own/a')
    shutil.copytree(folder, tmp_path / 'own/a_time')
    sequences = dict(type='tracking.CustomSequences', data_root=str(tmp_path / 'own'))
    cfg.test_dataloader.dataset.sequences = sequences
    with pytest.raises(UserError, match="'a' and 'a_time' share"):
        apis.test(cfg, world / 'tiny.pth', tmp_path / 'work')


def test_damage_in_parallel(world, reference, tmp_path, capfd):
    """Two processes; one sequence lacks a frame, and the others equal those of one process."""
    copy = tmp_path / 'lasot'
    write_lasot(copy)
    (copy / 'square' / NAMES[1] / 'img' / '00000002.jpg').write_bytes(b'\xff\xd8 cut')
    place = f'test_dataloader.dataset.sequences.data_root={copy}'
    words = ('--processes', 2, '--cfg-options', place)
    assert run(world, tmp_path / 'out', *words) == 1
    told = capfd.readouterr().err
    assert re.search(r'no result: square-2: sequence square-2, frame 1: .*00000002\.jpg', told)
    assert '1 of 3 sequences have no result' in told
    folder = tmp_path / 'out' / 'tiny'
    assert not (folder / 'square-2.txt').exists()
    for name in (NAMES[0], NAMES[2]):
        assert (folder / f'{name}.txt').read_bytes() == (reference / f'{name}.txt').read_bytes()
    # The sound data continue the run: where they lie does not matter.
    assert run(world, tmp_path / 'out') == 0
    assert (folder / 'square-2.txt').read_bytes() == (reference / 'square-2.txt').read_bytes()


def test_a_process_that_dies_costs_its_task_only():
    done = list(serve_all(functools.partial, operator.floordiv, [3, 0, 5], 1))
    death = 'the process that worked on it ended (status 1)'
    assert done == [(3, 0, ''), (0, None, death), (5, 0, '')]


@pytest.mark.parametrize(
    ('layout', 'files', 'first'),
    [('got10k', 6, 'square-1/square-1_001.txt'), ('trackingnet', 3, 'square-1.txt')],
)
def test_submissions(world, reference, tmp_path, layout, files, first):
    assert run(world, tmp_path, '--format', layout, '--zip') == 0
    with zipfile.ZipFile(tmp_path / 'tiny.zip') as archive:
        assert len(archive.namelist()) == files
        text = archive.read(first)
    assert text == (reference / 'square-1.txt').read_bytes()  # x,y,width,height of all frames


def test_wrong_command_lines(world, tmp_path, capsys):
    for words, told in (
        (['--processes', '0'], '--processes 0: expected a positive number'),
        (['--zip'], 'give --format got10k too'),
        (['--lost-below', '50'], "--lost-below: invalid share value: '50'"),
        (['--data-options', 'first_pixel=1'], 'options of --data SET:FOLDER'),
    ):
        with pytest.raises(SystemExit):
            run(world, tmp_path, *words)
        assert told in capsys.readouterr().err
    config, checkpoint, plain = world / 'tiny.py', world / 'tiny.pth', tmp_path / 'plain.py'
    plain.write_text("model = dict(type='tracking.OneStreamTracker')\n")
    for words, told in (
        ((config, checkpoint, '--device', 'tpu'), "device 'tpu' cannot be used"),
        ((config, checkpoint, '--sequences', 'square-7'), 'square-7'),
        ((config, 'gone.pth'), r'gone\.pth does not exist'),
        ((plain, checkpoint), 'no test_dataloader.*give --data'),
        ((plain, checkpoint, '--data', 'custm:x'), "Did you mean 'custom'"),
    ):
        with pytest.raises(UserError, match=told):
            tool.main([*map(str, words), '--out', str(tmp_path)])
    assert not list(tmp_path.glob('**/*.txt'))
