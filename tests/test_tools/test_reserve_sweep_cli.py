"""tools/reserve_sweep.py as users run it, with a launcher of their own."""

import json
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lightvit_dense.errors import run_tool
from lightvit_dense.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs/toyworld/small_sets/finetune.py')

# In place of a training: leaves what one leaves. Five blocks are refused until a file is there.
TRAINER = """
import json, pathlib, sys
words = sys.argv[1:]
folder = pathlib.Path(words[words.index('--work-dir') + 1])
kept = next((int(w.split('=')[1]) for w in words if 'num_pretrained_blocks=' in w), -1)
if kept == 5 and not pathlib.Path(__file__).with_name('mended').exists():
    sys.exit(7)
scalars = folder / 'run/vis_data/scalars.json'
scalars.parent.mkdir(parents=True)
scalars.write_text(json.dumps({'accuracy/top1': 50 + kept, 'step': 300}))
(folder / 'iter_250.pth').write_bytes(b'')
(folder / 'words.json').write_text(json.dumps(words))
"""


@pytest.fixture
def checkpoint(tmp_path):
    cfg = Config.fromfile(CONFIG)
    backbone = cfg.model.backbone
    backbone.pop('init_cfg')
    path = tmp_path / 'backbone.pth'
    torch.save(MODELS.build(backbone).state_dict(), path)
    return path


@pytest.fixture
def tool(tmp_path, capsys):
    main = runpy.run_path(str(ROOT / 'tools/reserve_sweep.py'))['main']

    def run(*words):
        fixed = [CONFIG, '--work-dir', str(tmp_path / 'sweep')]
        status = run_tool(lambda: main([*fixed, *map(str, words)]))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_it_runs_what_is_left_and_draws_the_figure(tool, checkpoint, tmp_path):
    (tmp_path / 'trainer.py').write_text(TRAINER)
    launcher = shlex.join([sys.executable, str(tmp_path / 'trainer.py'), '{config}', '--amp'])
    words = ['--checkpoint', f'MAE={checkpoint}', '--k', 5, 0, '--launcher', launcher, '--jobs', 2]
    words += ['--cfg-options', 'train_dataloader.dataset.fraction=0.01']
    status, out, err = tool(*words)
    assert status == 1
    assert "'MAE_reserve-5_seed-0' failed: exit status 7" in err
    assert 'tries again what is not done' in err
    assert not (tmp_path / 'sweep/results.json').exists()

    (tmp_path / 'mended').touch()
    status, out, err = tool(*words)
    assert status == 0, err
    assert '2 of 3 runs were done before' in out
    results = json.loads((tmp_path / 'sweep/results.json').read_text())
    assert [(e['num_pretrained_blocks'], e['mean']) for e in results['lines']['MAE']] == [
        (0, 50.0),
        (5, 55.0),
    ]
    assert results['scratch']['mean'] == 49.0
    assert '| 5 | 55.0 |' in (tmp_path / 'sweep/results.md').read_text()
    assert (tmp_path / 'sweep/results.png').read_bytes()[:4] == b'\x89PNG'
    given = json.loads((tmp_path / 'sweep/MAE_reserve-5_seed-0/words.json').read_text())
    assert given[:2] == [CONFIG, '--amp']
    assert 'train_dataloader.dataset.fraction=0.01' in given
    assert given[-1] == '--resume'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--k', '0', '7'], 'the backbone has 6 blocks, so it is one of 0..6'),
        (['--launcher', 'run.sh'], 'write {config} where the config file goes'),
        (['--jobs', '0'], 'at least one run'),
        (['--cfg-options', 'model.backbone.init_cfg=None'], 'PretrainedBackbone'),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tool, checkpoint, tmp_path, words, message):
    status, _, err = tool('--checkpoint', f'MAE={checkpoint}', *words)
    assert status == 2
    assert message in err
    assert not (tmp_path / 'sweep').exists()


def test_checkpoints_are_tried_first(tool, checkpoint, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save({'blocks.0.attn.qkv.weight': torch.zeros(30, 10)}, other)
    for word, message in (
        ('MAE', 'write NAME=PATH'),
        (f'a/b={checkpoint}', 'write NAME=PATH'),
        ('MAE=/nowhere.pth', '/nowhere.pth does not exist'),
        (f'MAE={other}', 'other.pth'),
    ):
        status, _, err = tool('--checkpoint', word)
        assert status == 2, word
        assert message in err
    status, _, err = tool('--checkpoint', f'A={checkpoint}', f'A={checkpoint}')
    assert status == 2
    assert "'A' is named twice" in err
