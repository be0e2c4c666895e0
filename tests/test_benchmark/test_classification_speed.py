from argparse import Namespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from lightvit_dense.suite.papers import PUBLISHED
from tools.benchmark import classifier_modes as modes
from tools.benchmark import harness
from tools.benchmark.cases import classification_speed as tables
from tools.benchmark.references.classifiers import Classifier

QUICK = dict(device='cpu', amp='none', threads=1, batch=4, budget=600.0, repeats=3)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.fc = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).mean((2, 3)))


def cells_of(build: Any, *wanted: str) -> dict[str, Any]:
    return modes.measure_model(Classifier(build, 8), Namespace(**QUICK, modes=wanted))


def test_memory_is_that_of_weights_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, 'held_memory_mb', lambda device: 500.0)
    monkeypatch.setattr(harness.environment, 'peak_memory_mb', lambda device: 1500.0)
    model, images = nn.Linear(2**18, 8, bias=False), torch.zeros(1, 2**18)  # 8 MiB, 1 MiB
    cell = modes.throughput(model, images, Namespace(**QUICK))
    assert cell['peak_memory_mb'] == 1500 - 500 + 8 + 1


def test_all_cells_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes.environment, 'cpp_compiler', lambda: None)
    cells = cells_of(Tiny, 'throughput', 'latency', 'compiled')
    macs = 4 * 7 * 7 * 3 * 2 * 2 + 4 * 5
    assert cells['size'] == {'parameters': 52 + 25, 'macs': macs}
    assert cells['throughput']['batch'] == 4
    assert len(cells['throughput']['seconds']) == 1  # a third of the repeats
    assert len(cells['latency']['seconds']) == 3
    assert cells['compiled'] == {'unavailable': 'no compiler'}


def test_errors_stay_in_their_cells() -> None:
    class NoBatch(Tiny):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) not in (1, 8):  # 8 settle the batch norms
                raise RuntimeError('one at a time\nand more about it')
            return super().forward(images)

    cells = cells_of(NoBatch, 'throughput', 'latency')
    assert cells['throughput'] == {'error': 'RuntimeError: one at a time'}
    assert len(cells['latency']['seconds']) == 3
    cells = cells_of(Mock(side_effect=ValueError('no such width')), 'latency', 'compiled')
    assert set(cells) == {'size', 'latency', 'compiled'}
    assert all(cell == {'error': 'ValueError: no such width'} for cell in cells.values())


def test_compiled_logits_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes.environment, 'cpp_compiler', lambda: 'c++')
    for factor, right in ((1.0, True), (1.01, False)):
        fast = lambda eager, by=factor: lambda images: by * eager(images)  # noqa: E731
        monkeypatch.setattr(torch, 'compile', fast)
        cell = cells_of(Tiny, 'compiled')['compiled']
        assert ('differs from eager torch by 1.0e-02' in cell.get('error', '')) is not right


SIZE = {'parameters': 5_717_416, 'macs': 1_250_000_000}
FIRST = {
    'size': SIZE,
    'throughput': {'batch': 8, 'seconds': [1.0, 2.0], 'peak_memory_mb': 100.0},
    'latency': {'seconds': [0.01, 0.02, 0.03], 'relative_error': 0},
    'compiled': {'unavailable': 'no compiler'},
}
SECOND = FIRST | {
    'throughput': {'batch': 8, 'seconds': [4.0], 'peak_memory_mb': 102.0},
    'latency': {'seconds': [0.04, 0.05], 'relative_error': 0},
}


def make(model: str = 'vit_tiny', *passes: dict) -> dict:
    return tables.make_row(model, 224, passes or [FIRST, SECOND])


def cells_in(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_passes_are_pooled() -> None:
    row = make()
    assert (row['throughput']['median'], row['throughput']['iqr']) == (4.0, 3.0)
    assert row['throughput']['peak_memory_mb'] == 101.0
    assert row['latency']['median'] == pytest.approx(30.0)
    assert row['latency']['iqr'] == pytest.approx(20.0)
    assert row['compiled'] == {'unavailable': 'no compiler'}
    line = cells_in(harness.table('', tables.SPEED_COLUMNS, [row]).splitlines()[4])
    assert line[:6] == ['vit_tiny', '224', '5.72', '1.25', '4 (3)', '101']
    assert line[6:] == ['30 (20)', 'unavailable: no compiler']


def test_an_error_in_any_pass_is_told() -> None:
    row = make('vit_tiny', FIRST, FIRST | {'latency': {'error': 'RuntimeError: no'}})
    assert row['latency_text'] == 'error: RuntimeError: no'
    assert make('vit_tiny', {'size': {'error': 'x'}})['macs'] == 'error: x'


def test_table_2_has_every_published_row_beside_what_was_measured() -> None:
    text = tables.paper_table([make(), make('resnet18', {'size': {'error': 'x'}})])
    lines = text.splitlines()[2:]
    assert (lines[0].count('*paper*'), lines[0].count('*measured*')) == (5, 3)
    cells = {row[0]: row[1:] for row in map(cells_in, lines[2:]) if len(row) > 1}
    assert list(cells) == [row.label for row in PUBLISHED]
    assert cells['MAE-Tiny'] == ['6', '5.72', '1.25', '4020', '4 (3)', '78.0', '84.3', '66.2']
    assert cells['MAE-Tiny, 1000 epochs'][1:5] == ['5.72', '1.25', '3956', '4 (3)']
    assert cells['ResNet-18'][1:5] == ['error: x', 'error: x', '8951', '']
    assert cells['ResNet-50'][1:5] == ['*not run*', '*not run*', '2696', '']
    assert cells['MobileNet-v2'][5:] == ['72.0', '-', '-']
    assert cells['LVT'] == ['6', 'not in timm', 'not in timm', '-', '', '74.8', '-', '-']
