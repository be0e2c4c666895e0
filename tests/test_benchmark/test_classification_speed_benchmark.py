import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from lightvit_dense.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools/benchmark/classification_speed.py'
QUICK = ['--batch', '2', '--repeats', '3', '--warmup', '0', '--threads', '1', '--device', 'cpu']


def test_a_model_is_measured(tmp_path: Path) -> None:
    words = ['--models', 'timm:test_vit', *QUICK, '--out', str(tmp_path / 'out'), '--passes', '1']
    command = [sys.executable, str(TOOL), *words, '--modes', 'throughput', 'onnx']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'images/s |' in done.stderr
    main = runpy.run_path(str(TOOL))['main']
    with pytest.raises(UserError, match='go on with them by --resume'):
        main(words)
    result = json.loads((tmp_path / 'out/speed.json').read_text())
    (row,) = result['results']
    assert (row['image_size'], row['parameters']) == (160, 371_240)
    assert row['throughput']['batch'] == 2
    assert row['onnx']['relative_error'] < 1e-5
    assert result['machine']['torch_threads'] == 1
    (record,) = csv.DictReader((tmp_path / 'out/speed.csv').open())
    assert float(record['images_per_s']) == row['throughput']['images_per_s']['median']
    assert '| test_vit | 160 | 0.37 |' in done.stdout
    assert '| MAE-Tiny | 6 | *not run* |' in (tmp_path / 'out/table2.md').read_text()
    assert 'pictures: none' in done.stdout


def test_bad_options_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    parse_args = runpy.run_path(str(TOOL))['parse_args']
    for words, message in (
        (['--amp', 'bf16'], '--amp needs a GPU'),
        (['--device', 'cuda'], 'no GPU that torch can use'),
        (['--batch', '0'], '--batch must be at least 1, got 0'),
        (['--modes', 'onyx'], 'invalid choice'),
        (['--budget', '0'], '--budget and --timeout must be above 0'),
    ):
        with pytest.raises(SystemExit):
            parse_args(words)
        assert message in capsys.readouterr().err
    assert parse_args([]).batch == 16
