import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightvit_dense.analysis.dense_models import DenseSize
from lightvit_dense.analysis.dense_step import (
    DenseSettings,
    count_arithmetic,
    summarise,
    time_variants,
)
from lightvit_dense.analysis.dense_table import dense_markdown

TOOL = Path(__file__).resolve().parents[2] / 'tools/benchmark/dense_step.py'
SMALL = DenseSize(48, embed_dim=24, depth=2, num_heads=3, window=2, global_blocks=(1,))


def test_arithmetic_is_counted_as_on_paper():
    tokens, padded, width = 9, 16, 24
    windows, window = 4, 4
    patch = 2 * tokens * width * 3 * 16 * 16
    local = 2 * padded * width * 3 * width + 2 * windows * window**2 * width * 2
    # The position terms of the rows and the columns of 2 x 2 tokens.
    local += 2 * 2 * windows * window * 2 * width
    whole = 2 * tokens * width * 3 * width + 2 * tokens**2 * width * 2 + 2 * 2 * tokens * 3 * width
    rest = 2 * (2 * tokens * width * width + 2 * tokens * width * 4 * width * 2)
    counted = count_arithmetic(SMALL, 2)
    assert counted['forward'] == 2 * (patch + local + whole + rest)
    # Two products backwards for each forwards; the image needs no gradient.
    assert counted['step'] == 3 * counted['forward'] - 2 * patch


def test_variants_take_turns_and_agree():
    lines = []
    settings = DenseSettings(batch=2, repeats=3, optimizer=False)
    names = ('ours', 'checkpointed', 'folded', 'timm', 'huggingface')
    timed = time_variants(SMALL, names, settings, lines.append)
    assert lines[-1] == 'round 3 of 3'
    assert list(timed['variants']) == list(names)
    for found in timed['variants'].values():
        assert [len(seconds) for seconds in found['seconds'].values()] == [3, 3]
        assert found['output_error'] < 1e-5
        assert found['gradient_error'] < 1e-5
    assert timed['variants']['timm']['output_error'] > 0
    assert timed['matmul_gflop_per_s'] > 0


def test_rows_and_tables_say_what_was_measured():
    def found(forward, step, error):
        seconds = {'forward': forward, 'step': step}
        return {'seconds': seconds, 'output_error': error, 'gradient_error': 2 * error}

    timed = {
        'variants': {
            'ours': found([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], 0.0),
            'timm': found([3.0, 3.0, 3.0], [2.0, 2.0, 2.0], 1e-6),
        },
        'flops': {'forward': 2e9, 'step': 6e9},
        'matmul_gflop_per_s': 10.0,
    }
    memory = {
        name: {what: {'peak_mb': 100 + size, 'grown_mb': size} for what in ('forward', 'step')}
        for name, size in (('ours', 20.0), ('timm', 100.0))
    }
    ours, timm = summarise(SMALL, timed, memory, DenseSettings())
    assert ours['forward']['seconds'] == 2
    assert ours['forward']['spread'] == 1
    assert ours['forward']['share'] == pytest.approx(0.1)
    assert timm['forward']['times_ours'] == 1.5  # the median of 3, 1.5 and 1
    assert timm['step']['times_ours'] == 0.5
    assert timm['step']['memory_of_theirs'] == 0.2
    assert timm['step']['peak_of_theirs'] == 0.6
    text = dense_markdown([ours, timm], 'a machine')
    assert '**Training step, 48 px** (batch 1, at least 6.0 GFLOP)' in text
    line = "| timm's ViT of Segment Anything | 3.000 (0.000) | 3.000 | 1.50x | 7% | 100 | 0.20x |"
    assert line in text
    assert '| 1e-06 | 2e-06 |' in text


def test_the_command_line_measures_time_and_memory(tmp_path):
    out = tmp_path / 'dense.json'
    options = ['--tiny', '--sizes', '48', '--variants', 'ours', '--repeats', '1']
    options += ['--threads', '1', '--warmup', '0', '--device', 'cpu', '--json', str(out)]
    done = subprocess.run(
        [sys.executable, str(TOOL), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    (row,) = found['results']
    assert row['variant'] == 'ours'
    assert found['machine']['torch_threads'] == 1
    assert row['step']['peak_mb'] >= row['forward']['peak_mb'] > 100
    assert row['step']['seconds'] > 0
    assert '**Forward pass, 48 px**' in done.stdout


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--sizes', '100'], 'multiples of the 16 px'),
        (['--device', 'cpu', '--amp', 'bf16'], '--amp needs a GPU'),
        (['--repeats', '0'], '--repeats must be at least 1'),
        (['--variants', 'detectron'], 'invalid choice'),
    ],
)
def test_bad_options_are_refused(words, message, capsys):
    tool = SimpleNamespace(**runpy.run_path(str(TOOL)))
    with pytest.raises(SystemExit) as stop:
        tool.parse_args(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_compiler_is_named(monkeypatch, capsys):
    if torch.cuda.is_available():
        words = ['--device', 'cpu', '--compile']
    else:
        words = ['--compile']
    monkeypatch.setenv('PATH', '')
    monkeypatch.delenv('CXX', raising=False)
    tool = SimpleNamespace(**runpy.run_path(str(TOOL)))
    assert tool.run_tool(lambda: tool.main(words)) == 2
    assert '--compile needs a C++ compiler' in capsys.readouterr().err
