import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_tool(*words):
    command = [sys.executable, str(ROOT / 'tools/benchmark/train_step.py'), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_full_size_steps_are_measured(tmp_path):
    out = tmp_path / 'step.json'
    options = ['--cases', 'mae', 'dmae', '--batch', '1', 'mae=2', '--repeats', '1', '--warmup', '0']
    done = run_tool(*options, '--device', 'cpu', '--json', out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    mae, dmae = found['results']
    assert (mae['batch'], dmae['batch']) == (2, 1)
    for case in (mae, dmae):
        assert case['images_per_s'] == case['batch'] / case['step_s']
        assert case['peak_memory_mb'] >= case['memory_before_mb'] > 100
    # The teacher adds more arithmetic than the rest takes: ViT-Base against ViT-Tiny.
    assert dmae['gflop_per_image'] > 2 * mae['gflop_per_image'] > 2
    assert 0 < dmae['teacher_share'] < 1.5
    assert found['machine']['cpu']
    assert found['machine']['torch_threads'] >= 1
    assert 'The teacher takes' in done.stdout


def test_bad_options_are_refused(call_tool):
    tool = 'benchmark/train_step.py'
    status, _, errors = call_tool(tool, '--batch', 'mea=2')
    assert status == 2
    assert '--batch mea=2: expected N or CASE=N' in errors
    status, _, errors = call_tool(tool, '--device', 'cpu', '--amp', 'bf16')
    assert status == 2
    assert '--amp needs a GPU' in errors
