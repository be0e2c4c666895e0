"""The command ``lightvit``, in the clone and out of a wheel."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from itertools import product
from pathlib import Path

import pytest

from lightvit_dense import cli
from lightvit_dense.utils import home
from lightvit_dense.visualization import write_image
from tests.helpers.small_dense import picture

ROOT = Path(__file__).parents[2]
WORDS = ['train', 'test', 'infer', 'check', 'convert', 'track', 'benchmark', 'export', 'doctor']


def test_each_word_has_a_tool_and_a_line(capsys) -> None:
    assert cli.main([]) == 0
    lines = map(str.split, capsys.readouterr().out.splitlines())
    listed = {words[0]: words[1:] for words in lines if words}
    assert set(WORDS) <= set(home.COMMANDS)
    for word in {*home.tools(), *WORDS}:
        assert len(listed[word]) > 3, word
    assert {'make_toyworld', 'probe', 'fetch_teacher', 'run_dataset', 'build_docs'} <= set(listed)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('trian', "no command 'trian'; lightvit --help lists them. Did you mean 'train'?"),
        ('train coco/maskrcn_dmae_tiny', "Did you mean 'coco/maskrcnn_dmae_tiny'?"),
        ('benchmark demmo --list', "Did you mean 'demo'?"),
        ('train coco/maskrcnn_dmae_tiny --preflight', 'maskrcnn_dmae_tiny.py needs'),
        ('train configs/coco/maskrcnn_dmae_tiny.py --preflight', 'maskrcnn_dmae_tiny.py needs'),
    ],
)
def test_mistakes(line, message, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [])
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path))
    assert cli.main(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('line', 'launched'),
    [
        ('train c.py --gpus 2 --amp', 'dist_train.sh c.py 2 --amp'),
        ('test c.py x.pth --tta --gpus=4', 'dist_test.sh c.py x.pth 4 --tta'),
    ],
)
def test_processes(line, launched, monkeypatch) -> None:
    calls: list = []
    monkeypatch.setattr(cli.subprocess, 'call', lambda words, env: calls.append(words) or 3)
    assert cli.main(line.split()) == 3
    script, *words = launched.split()
    assert calls == [[str(ROOT / 'tools' / script), *words]]


def test_the_doctor_tries_everything(monkeypatch, tmp_path, capsys) -> None:
    main = runpy.run_path(str(ROOT / 'tools/doctor.py'))['main']
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path))
    assert main(['--device', 'cpu']) == 0
    text = capsys.readouterr().out
    for what in ('NMS', 'RoIAlign', 'device cpu', *main.__globals__['TASKS']):
        assert re.search(rf'^ok +(a step of )?{what} ', text, re.M), what
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path / 'gone'))
    monkeypatch.setitem(main.__globals__, 'TASKS', {'MAE': ('mae', 64)})
    monkeypatch.setitem(main.__globals__, 'ORIGINALS', ('timm', 'mmcv'))
    assert main(['--device', 'cpu']) == 1
    text = capsys.readouterr().out
    for words in (
        'pip uninstall -y timm, then',
        'gone: nothing is there',
        'mae.py does',
        '3 failed',
    ):
        assert words in text


@pytest.fixture(scope='module')
def installed(tmp_path_factory) -> Path:
    """Return an environment with the wheel of this tree, beside the packages that are here."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in ('lightvit_dense', 'lightvit_dense_runtime', 'tracking', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'model-index.yml', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    quiet = ['--no-deps', '--no-index']
    venv, python = folder / 'venv', folder / 'venv/bin/python'
    for words in (
        [*pip, 'wheel', *quiet, '--no-build-isolation', '-w', folder, source],
        [sys.executable, '-m', 'venv', '--without-pip', venv],
        [*pip, '--python', python, 'install', *quiet, '--no-compile', folder / WHEEL],
    ):
        subprocess.run(words, check=True, cwd=folder)
    # The packages that are here, but not the editable installation among them.
    (site,) = (venv / 'lib').glob('python3*/site-packages')
    (site / 'here.pth').write_text(sysconfig.get_path('purelib'))
    shutil.rmtree(source)
    return venv


WHEEL = 'lightvit_dense-0.1.0-py3-none-any.whl'
SCRIPT = """
import sys
import lightvit_dense
from lightvit_dense import cli
from lightvit_dense.errors import UserError

assert lightvit_dense.__file__.startswith(sys.prefix), lightvit_dense.__file__
assert lightvit_dense.load('dmae-dinov2_toyworld', device='cpu').task == 'features'
try:
    lightvit_dense.load('maskrcnn_dmae_tiny')
except UserError as error:
    assert 'Train it (lightvit train ' in str(error), error
two = 'train_cfg.max_iters=2 train_cfg.val_interval=2 param_scheduler.warmup=1'
two += ' param_scheduler.end=2 model.head.num_classes=2 model.data_preprocessor.num_classes=2'
two += ' train_dataloader.batch_size=2 val_dataloader.batch_size=2'
assert cli.main(['train', 'small_sets/scratch', '--cfg-options', *two.split()]) == 0
assert cli.main(['benchmark', 'demo', '--list']) == 0
"""


def test_the_wheel_works_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(('LIGHTVIT', 'PYTHON'))}
    variables |= dict(CUDA_VISIBLE_DEVICES='-1')

    def run(*words: object) -> str:
        command = [str(installed / 'bin' / str(words[0])), *map(str, words[1:])]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert '\n  train ' in run('lightvit', '--help')
    assert not list(tmp_path.iterdir())
    data = tmp_path / 'data/small/fashion-mnist'
    for split, label, number in product(['train', 'val'], 'ab', range(2)):
        write_image(data / split / label / f'{number}.png', picture(28, 28, number))
    (data / 'classes.txt').write_text('a\nb\n')
    out = run('python', '-c', SCRIPT)
    assert 'segmentation_dmae_seed-0_test:' in out
    assert (tmp_path / 'work_dirs/scratch/iter_2.pth').is_file()
