import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/benchmark/pretrain_step.py'


def test_variants_are_compared(tmp_path: Path) -> None:
    out = tmp_path / 'step.json'
    words = ['--methods', 'mae', '--batch', '1', '--repeats', '2', '--warmup', '0']
    words += ['--device', 'cpu', '--no-memory', '--json', str(out)]
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())['results']
    assert [row['variant'] for row in rows] == ['ours', 'authors', 'huggingface']
    for row in rows:
        assert row['images_per_s'] == 1 / row['step_s']
        assert row['flop_utilisation'] == pytest.approx(row['floor_s'] / row['step_s'])
    assert rows[0]['times_ours'] == 1
    # The others embed all patches and predict all of them: a little more arithmetic.
    assert 1 < rows[1]['gflop_per_image'] / rows[0]['gflop_per_image'] < 1.2
    assert 1 < rows[2]['gflop_per_image'] / rows[0]['gflop_per_image'] < 1.2
    assert 'The floor is' in done.stdout


@pytest.mark.parametrize('name', ['huggingface', 'meta'])
def test_rivals_are_of_our_size(name: str) -> None:
    tool = runpy.run_path(str(TOOL))
    args = tool['parse_args'](['--batch', '1', '--device', 'cpu'])
    ours = tool['make_step']('hiera', 'ours', args).model
    theirs = tool['make_step']('hiera', name, args).model
    sizes = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    tool = runpy.run_path(str(TOOL))
    for words, message in (
        (['--device', 'cpu', '--amp', 'bf16'], '--amp needs a GPU'),
        (['--batch', '0', '--repeats', '0'], 'must be at least 1'),
        (['--methods', 'mea'], 'invalid choice'),
    ):
        with pytest.raises(SystemExit):
            tool['parse_args'](words)
        assert message in capsys.readouterr().err
