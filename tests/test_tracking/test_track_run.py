"""Running over a data set: resumed, in parallel, with damage; the same by the test loop."""

import functools
import json
import operator
import zipfile

import numpy as np
import pytest
import torch

from lightvit_dense import apis
from lightvit_dense.errors import UserError
from tracking.engine.dataset_run import SETTINGS, build_sequences
from tracking.engine.sequence_loop import track_sequence
from tracking.engine.worker_pool import serve_all
from tracking.runtime.results import is_complete, read_result, read_seconds, write_result
from tracking.runtime.tracker import Tracker
from tracking.tools import run_dataset as tool

from .small_runtime import moving_target
from .small_sequences import write_lasot_sequence
from .small_tracker import CONFIG

TEST = """
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='tracking.SequenceDataset',
        sequences=dict(
            type='tracking.LaSOT', split='test', data_root={root!r}, cache_dir={cache!r}
        ),
    ),
)
test_cfg = dict(type='tracking.SequenceTestLoop')
test_evaluator = dict(type='tracking.OnePassEvaluation', out_dir={out!r}, tracker_name='loop')
"""
NAMES = [f'square-{number}' for number in (1, 2, 3)]


def write_lasot(root, lengths=(5, 3, 4)):
    for number, (name, length) in enumerate(zip(NAMES, lengths, strict=True)):
        frames, boxes = moving_target(length, seed=number)
        write_lasot_sequence(root, name, boxes, frames=frames)
    (root / 'testing_set.txt').write_text('\n'.join(NAMES) + '\n')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A config, a checkpoint of random weights and sequences; nobody changes them."""
    folder = tmp_path_factory.mktemp('world')
    write_lasot(folder / 'lasot')
    config = folder / 'tiny.py'
    places = dict(root=str(folder / 'lasot'), cache=str(folder / 'cache'), out=str(folder / 'loop'))
    config.write_text(CONFIG + TEST.format(**places))
    torch.manual_seed(0)
    model = apis.build_model(config, device='cpu')
    torch.save(dict(state_dict=model.state_dict()), folder / 'tiny.pth')
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


def test_every_sequence_is_written(world, reference):
    tracker = Tracker(world / 'tiny.py', world / 'tiny.pth', 'cpu', threads=1)
    dataset = build_sequences(apis.load_config(world / 'tiny.py'))
    for index, (name, length) in enumerate(zip(NAMES, (5, 3, 4), strict=True)):
        path = reference / f'{name}.txt'
        assert is_complete(path, length)
        boxes, *_ = track_sequence(tracker, dataset.sequence(index))
        np.testing.assert_allclose(read_result(path), boxes, atol=5e-5)
        assert (read_seconds(path) > 0).all()
    stored = json.loads((reference / SETTINGS).read_text())['settings']
    assert len(stored['checkpoint']) == 64
    assert stored['backend'] == 'torch'


def test_finished_files_are_kept_and_others_redone(world, reference, tmp_path, capsys):
    assert run(world, tmp_path) == 0
    folder = tmp_path / 'tiny'
    kept, cut, gone = (folder / f'{name}.txt' for name in NAMES)
    write_result(folder, NAMES[0], read_result(kept) + np.array([1, 0, 0, 0]))
    marked = kept.read_bytes()
    cut.write_bytes(cut.read_bytes()[:-3])
    gone.unlink()
    capsys.readouterr()
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
    with pytest.raises(UserError, match='results of another model; take another'):
        run(world, tmp_path, '--cfg-options', 'model.search_factor=3.0')
    with pytest.raises(UserError, match='results of another backend and layout'):
        run(world, tmp_path, '--backend', 'plain', '--format', 'got10k')
    assert run(world, tmp_path, '--backend', 'plain', '--limit', 1, '--name', 'plain') == 0
    found, plain = (read_result(tmp_path / name / 'square-1.txt') for name in ('tiny', 'plain'))
    np.testing.assert_allclose(found, plain, atol=0.5)
    (tmp_path / 'plain' / SETTINGS).unlink()
    with pytest.raises(UserError, match=r'no settings\.json says of what'):
        run(world, tmp_path, '--backend', 'plain', '--name', 'plain')


def test_damage_in_parallel(world, reference, tmp_path, capfd):
    """Two processes; one sequence lacks a frame, and the others equal those of one process."""
    copy = tmp_path / 'lasot'
    write_lasot(copy)
    (copy / 'square' / NAMES[1] / 'img' / '00000002.jpg').write_bytes(b'\xff\xd8 cut')
    place = f'test_dataloader.dataset.sequences.data_root={copy}'
    words = ('--processes', 2, '--cfg-options', place)
    assert run(world, tmp_path / 'out', *words) == 1
    told = capfd.readouterr()
    assert 'no result: square-2: sequence square-2, frame 1: ' in told.err
    assert '00000002.jpg' in told.err
    assert '1 of 3 sequences have no result' in told.err
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


def test_submission_to_got10k(world, reference, tmp_path):
    assert run(world, tmp_path, '--format', 'got10k', '--zip') == 0
    with zipfile.ZipFile(tmp_path / 'tiny.zip') as archive:
        assert len(archive.namelist()) == 6
        text = archive.read('square-1/square-1_001.txt')
    assert text == (reference / 'square-1.txt').read_bytes()


def test_the_test_loop_writes_the_same(world, reference, tmp_path):
    metrics = apis.test(world / 'tiny.py', world / 'tiny.pth', tmp_path / 'work')
    assert 0 <= metrics['success'] <= 100
    for name in NAMES:
        found = read_result(world / 'loop' / 'loop' / f'{name}.txt')
        np.testing.assert_allclose(found, read_result(reference / f'{name}.txt'), atol=1e-3)


def test_wrong_command_lines(world, tmp_path, capsys):
    for words, told in (
        (['--processes', '0'], '--processes 0: expected a positive number'),
        (['--zip'], 'give --format got10k too'),
    ):
        with pytest.raises(SystemExit):
            run(world, tmp_path, *words)
        assert told in capsys.readouterr().err
    with pytest.raises(UserError, match="device 'tpu' cannot be used"):
        run(world, tmp_path, '--device', 'tpu', '--name', 'other')
    with pytest.raises(UserError, match='square-7'):
        run(world, tmp_path, '--sequences', 'square-7')
    with pytest.raises(UserError, match=r'gone\.pth does not exist'):
        tool.main([str(world / 'tiny.py'), 'gone.pth', '--out', str(tmp_path)])
    plain = tmp_path / 'plain.py'
    plain.write_text("model = dict(type='tracking.OneStreamTracker')\n")
    with pytest.raises(UserError, match='no test_dataloader'):
        tool.main([str(plain), str(world / 'tiny.pth'), '--out', str(tmp_path)])
    assert not list(tmp_path.glob('**/*.txt'))
