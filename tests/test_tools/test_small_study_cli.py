"""tools/small_study.py as users run it."""

import json
import runpy
import shlex
from pathlib import Path

import pytest

from lightvit_dense.datasets.small_sets import SOURCES, write_set
from lightvit_dense.errors import run_tool

ROOT = Path(__file__).parents[2]
STUDY = runpy.run_path(str(ROOT / 'tools/small_study.py'))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path / 'data'))
    monkeypatch.chdir(ROOT)
    return tmp_path / 'data'


@pytest.fixture
def tool(tmp_path, data, capsys):
    def run(*words):
        status = run_tool(lambda: STUDY['main'](['--work-dir', str(tmp_path / 'study'), *words]))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_it_trains_and_writes_its_results_and_does_nothing_twice(tool, data, tmp_path):
    write_set(SOURCES['digits'](None), data / 'small')
    words = ['--smoke', '--settings', 'digits', '--inits', 'scratch', '--seeds', '3']
    status, out, err = tool(*words)
    assert status == 0, err
    assert '[1/1] digits, 10% of labels, from scratch, seed 3' in out
    assert 'Smoke run' in out
    results = json.loads((tmp_path / 'study/results.json').read_text())
    (run,) = results['runs']
    correct = run['top1'] * 359 / 100  # of 359 validation images
    assert correct == pytest.approx(round(correct), abs=1e-3)
    header = '| top-1 in % | from scratch |'
    assert (tmp_path / 'study/results.md').read_text().startswith(header)
    assert (tmp_path / 'study/results.png').read_bytes()[:4] == b'\x89PNG'
    status, out, _ = tool(*words)
    assert status == 0
    assert '1 of 1 runs were done before' in out


def test_the_plan_fits_configs_and_training_tool(tool, data):
    for folder in ('small/digits', 'toyworld/imagenet'):
        (data / folder).mkdir(parents=True)
        (data / folder / 'classes.txt').write_text('a\nb\n')
    status, out, err = tool('--list', '--settings', 'digits', 'toyworld')
    assert status == 0, err
    lines = out.splitlines()
    assert len(lines) == 2 * 4 + 2 * 12
    assert lines[-1] == 'to do  finetune_toyworld_d2mae_seed-2: toy world objects, D²-MAE, seed 2'

    parse = runpy.run_path(str(ROOT / 'tools/train.py'))['parse_args']
    study = STUDY['plan'](STUDY['parse_args'](['--settings', 'digits']))
    stage = study.stages[-1]
    args = parse(shlex.split(shlex.join(map(str, stage.command)))[2:] + list(stage.resume))
    assert args.resume == 'auto'
    assert args.cfg_options['train_dataloader.dataset.fraction'] == 0.1
    config = STUDY['read_config'](args.config, args.cfg_options)
    assert config['model']['backbone']['init_cfg']['checkpoint'].endswith(
        'pretrain_small_digits_d2mae/backbone.safetensors'
    )


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--settings', 'digit'], "no 'digit'"),
        (['--settings', 'fashion'], 'make_small_sets.py --sets fashion-mnist'),
        (['--settings', 'toyworld'], 'make_toyworld.py --layouts coco imagenet'),
        (['--jobs', '0'], '--jobs 0 is too small'),
        (['--finetune-iters', '1'], '--finetune-iters 1 is too small'),
        (['--seeds', '1', '1'], 'named twice'),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tool, words, message):
    status, _, err = tool(*words)
    assert status == 2
    assert message in err
