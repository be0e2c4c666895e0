"""The tool that probes frozen features, as a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from tests.helpers.digits import digits_config, write_digits

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/probe.py'


def run_tool(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_second_call_starts_from_the_files(
    tmp_path: Path, call_tool: Callable[..., tuple]
) -> None:
    write_digits(tmp_path, train=30, val=10)
    config, out = tmp_path / 'config.py', tmp_path / 'out'
    # Initial weights that the config names are not read.
    absent = dict(type='lightvit_dense.PretrainedBackbone', checkpoint='absent.pth')
    arch = dict(embed_dim=32, depth=2, num_heads=2)
    digits_config(tmp_path, arch=arch, patch_size=4, init_cfg=absent).dump(config)
    words = [config, 'none', '--cache', tmp_path / 'cache', '--device', 'cpu']
    first = run_tool(*words, '--out', out, '--method', 'knn', '--k', '5', '--layer', '1', '2')
    assert first.returncode == 0, first.stderr
    assert first.stdout.count('images, computed') == 2
    metadata = json.loads((out / 'probe.json').read_text())
    assert metadata['images'] == {'train': 90, 'val': 30}
    assert metadata['network']['weights'] == 'random, seed 0'
    methods = [f'{row["features"]}: {row["method"]}' for row in metadata['results']]
    assert methods == ['none: most frequent class', 'cls_layer1: knn', 'cls_layer2: knn']
    assert metadata['results'][0]['top1'] == pytest.approx(100 / 3)
    # Three digits in 90 examples: nearest neighbours tell them apart even of random features.
    assert metadata['results'][2]['top1'] > 60
    assert f'{metadata["results"][2]["top1"]:.2f}' in (out / 'probe.md').read_text()
    assert len((out / 'probe.csv').read_text().splitlines()) == 4
    assert cv2.imread(str(out / 'layers.png')).std() > 5

    words += ['--out', tmp_path / 'again', '--layer', '2']
    words += ['--method', 'logistic', 'linear', '--epochs', '20']
    status, printed, errors = call_tool('analysis_tools/probe.py', *words)
    assert status == 0, errors
    assert printed.count('images, from the cache') == 2
    results = json.loads((tmp_path / 'again' / 'probe.json').read_text())['results']
    settings = [(row['method'], row['setting']) for row in results[1:]]
    assert settings == [('logistic', 'C 1'), ('linear', 'lr 6.4')]
    assert results[1]['top1'] > 60  # 40 steps are too few for LARS to get there
