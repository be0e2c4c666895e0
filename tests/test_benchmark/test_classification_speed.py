import json
import signal
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from lightvit_dense.errors import UserError
from lightvit_dense.suite.papers import PUBLISHED
from tools.benchmark import classifier_modes as modes
from tools.benchmark import harness, run
from tools.benchmark.cases import classification_speed as tables
from tools.benchmark.cases.classification_speed import Passes
from tools.benchmark.references.classifiers import CLASSIFIERS, Classifier

QUICK = Namespace(device='cpu', amp='none', channels_last=False, threads=1, batch=4, budget=600.0,
                  repeats=3, warmup=1)  # fmt: skip


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.fc = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).mean((2, 3)))


@pytest.mark.parametrize(
    ('limit', 'error', 'an_image', 'wanted', 'batches'),
    [
        (20, None, 1e-6, 128, [16, 16, 128, 64, 32, 16]),
        # Larger ones are never run, so that the peak of memory is this one's.
        (1000, None, 0.1, 64, [8, 8, 16]),
        # No batch helps.
        (0, "DefaultCPUAllocator: can't allocate memory", 1, 16, [2, 1]),
        (0, 'shapes do not fit', 1, 16, [2]),
    ],
)
def test_a_batch_is_halved_until_it_fits(
    limit: int, error: str | None, an_image: float, wanted: int, batches: list[int]
) -> None:
    tried: list[int] = []

    def run_batch(batch: int) -> float:
        tried.append(batch)
        if batch > limit:
            raise RuntimeError(error) if error else torch.OutOfMemoryError('CUDA out of memory')
        return an_image * batch

    with pytest.raises(RuntimeError, match=error) if error else nullcontext():
        assert modes.fit_batch(run_batch, wanted, seconds=2.0) == 16
    assert tried == batches


def test_memory_is_that_of_weights_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, 'held_memory_mb', lambda device: 500.0)
    monkeypatch.setattr(modes.environment, 'peak_memory_mb', lambda device: 1500.0)
    model = nn.Linear(8, 2**18, bias=False)  # 8 MiB
    cell = modes.throughput_cell(modes.Inference(model, 8, QUICK), QUICK)
    assert cell['peak_memory_mb'] == 1500 - (500 - 8)


def test_inference_is_eager_torch() -> None:
    model = Tiny().eval()
    inference = modes.Inference(model, 8, Namespace(**{**vars(QUICK), 'channels_last': True}))
    images = inference.images(2)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inference(images), model(images.contiguous()))
    assert torch.equal(images, inference.images(2))


def cells_of(model: nn.Module, *wanted: str) -> dict[str, Any]:
    return modes.measure_model(Classifier('tiny', lambda: model, 8), wanted, QUICK)


def test_all_cells_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes.environment, 'cpp_compiler', lambda: None)
    cells = cells_of(Tiny(), 'throughput', 'latency', 'compiled', 'onnx')
    macs = 4 * 7 * 7 * 3 * 2 * 2 + 4 * 5
    assert cells['size'] == {'parameters': 52 + 25, 'macs': macs, 'flops': 2 * macs}
    assert cells['throughput']['batch'] == 4
    assert len(cells['throughput']['seconds']) == 1  # a third of the repeats
    assert len(cells['latency']['seconds']) == len(cells['onnx']['seconds']) == 3
    assert cells['compiled'] == {'unavailable': 'no compiler'}
    assert cells['onnx']['relative_error'] < 1e-5


def test_errors_stay_in_their_cells() -> None:
    class NoBatch(Tiny):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 1:
                raise RuntimeError('one at a time\nand more about it')
            return super().forward(images)

    cells = cells_of(NoBatch(), 'throughput', 'latency')
    assert cells['throughput'] == {'error': 'RuntimeError: one at a time'}
    assert len(cells['latency']['seconds']) == 3
    unbuilt = Classifier('broken', Mock(side_effect=ValueError('no such width')))
    cells = modes.measure_model(unbuilt, ('latency', 'onnx'), QUICK)
    assert cells['size'] == {'error': 'ValueError: no such width'}
    text = 'the model was not built: ValueError: no such width'
    assert cells['latency'] == cells['onnx'] == {'error': text}


def test_compiled_logits_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    model, factor = Tiny().eval(), 1.0
    monkeypatch.setattr(modes.environment, 'cpp_compiler', lambda: 'c++')
    monkeypatch.setattr(torch, 'compile', lambda eager: lambda images: factor * eager(images))
    inference = modes.Inference(model, 8, QUICK)
    call, error = modes.compiled(inference)
    torch.testing.assert_close(call(), inference(inference.images(1)))
    assert error < 1e-6
    assert inference.model is model
    factor = 1.01
    with pytest.raises(ValueError, match=r'compiled model differs .* 1.0e-02'):
        modes.compiled(inference)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put something in the place of measuring processes: it does what the model's name says."""
    tasks: list[dict[str, Any]] = []

    def start_worker(args: Any, task: dict, out: Path, log: Path, timeout: float) -> int | None:
        tasks.append(dict(task))
        if task['model'] == 'hungry' and task['batch'] > 2:
            return -signal.SIGKILL
        if task['model'] in ('slow', 'crash'):
            return None if task['model'] == 'slow' else 3
        cell = {'seconds': [0.5], 'relative_error': 0}
        cell |= {'batch': task['batch'], 'peak_memory_mb': 1.0}
        size = {'parameters': 1, 'macs': 1, 'flops': 2}
        out.write_text(json.dumps({'size': size} | dict.fromkeys(task['modes'], cell)))
        return 0

    monkeypatch.setattr(harness, 'start_worker', start_worker)
    for name in ('a', 'b', 'hungry', 'slow', 'crash'):
        monkeypatch.setitem(CLASSIFIERS, name, Classifier(name, nn.Identity))
    return tasks


def passes_of(folder: Path, *words: str) -> Passes:
    options = ['--modes', 'throughput', 'latency', '--device', 'cpu', '--out', str(folder / 'out')]
    args = run.parse_args(['classification_speed', '--models', *words, *options])
    harness.check_options(args)
    args.module.check(args)
    passes = Passes(args)
    passes.open()
    return passes


def test_passes_go_forth_and_back_and_only_what_is_missing_or_wrong_is_repeated(
    tasks: list, tmp_path: Path
) -> None:
    assert passes_of(tmp_path, 'a', 'b', '--passes', '2').run() == []
    assert [task['model'] for task in tasks] == ['a', 'b', 'b', 'a']
    passes = passes_of(tmp_path, 'a', 'b', '--passes', '2', '--resume')
    assert passes.cells(2, 'a')['latency']['batch'] == 16
    passes.run()
    assert len(tasks) == 4
    wrong = {**passes.cells(1, 'a'), 'latency': {'error': 'no'}}
    passes.file(1, 'a').write_text(json.dumps(wrong))
    passes.run()
    assert [(task['model'], task['modes']) for task in tasks[4:]] == [('a', ['latency'])]
    assert passes.missing(1, 'a') == []


def test_a_killed_process_is_tried_with_less(tasks: list, tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'hungry', '--passes', '2', '--batch', '8')
    passes.run()
    # The second pass begins with what fitted in the first.
    assert [task['batch'] for task in tasks] == [8, 4, 2, 2]
    assert passes.cells(1, 'hungry')['throughput']['batch'] == 2


@pytest.mark.parametrize(
    ('model', 'message'),
    [('slow', 'not done after 1200 s'), ('crash', 'the process ended with status 3')],
)
def test_a_dead_process_leaves_errors(
    model: str, message: str, tasks: list, tmp_path: Path
) -> None:
    passes = passes_of(tmp_path, model, 'a', '--passes', '1')
    passes.run()
    assert passes.missing(1, 'a') == []
    assert passes.missing(1, model) == ['throughput', 'latency']
    (row,) = (row for row in passes.write() if row['model'] == model)
    for error in tables.errors_of(row):
        assert message in error


def test_a_folder_belongs_to_one_benchmark(tasks: list, tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'a', '--minutes', '1e-9', '--resume')  # nothing there yet
    assert passes.run() == [2, 3]  # time is up
    assert len(tasks) == 1
    with pytest.raises(UserError, match='holds results already: go on with them by --resume'):
        passes_of(tmp_path, 'a')
    with pytest.raises(UserError, match=r'measured otherwise \(batch was 16\)'):
        passes_of(tmp_path, 'a', '--batch', '8', '--resume')


def test_the_command_line_measures_a_model(
    workers_here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = 'classification_speed --models timm:test_vit --batch 2 --repeats 3 --warmup 0'
    words += f' --threads 1 --device cpu --passes 1 --modes throughput onnx --out {tmp_path}/out'
    assert run.main(words.split()) == 0
    text = capsys.readouterr()
    (row,) = json.loads((tmp_path / 'out/speed.json').read_text())['results']
    assert (row['image_size'], row['size']['parameters']) == (160, 371_240)
    assert row['throughput']['batch'] == 2
    assert row['onnx']['relative_error'] < 1e-5
    assert '| test_vit | 160 | 0.37 |' in text.out
    assert '| MAE-Tiny | 6 | *not run* |' in (tmp_path / 'out/table2.md').read_text()
    assert 'pictures: none' in text.out
    assert 'minutes: no errors' in text.err


SIZE = {'parameters': 5_717_416, 'macs': 1_250_000_000, 'flops': 2_500_000_000}
FIRST = {
    'size': SIZE,
    'throughput': {'batch': 8, 'seconds': [1.0, 2.0], 'peak_memory_mb': 100.0},
    'latency': {'seconds': [0.01, 0.02, 0.03], 'relative_error': 0},
    'compiled': {'unavailable': 'no compiler'},
    'onnx': {'seconds': [0.005], 'relative_error': 1e-6},
}
SECOND = FIRST | {
    'throughput': {'batch': 8, 'seconds': [4.0], 'peak_memory_mb': 102.0},
    'latency': {'seconds': [0.04, 0.05], 'relative_error': 0},
    'onnx': {'seconds': [0.007], 'relative_error': 3e-6},
}


def make(model: str = 'vit_tiny', passes: list | None = None) -> dict:
    entry = Classifier('ViT', Tiny, note='a note')
    return tables.make_row(model, entry, passes or [FIRST, SECOND], list(modes.MODES))


def cells_in(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_passes_are_pooled() -> None:
    row = make()
    assert (row['throughput']['median'], row['throughput']['iqr']) == (4.0, 3.0)
    assert row['throughput']['peak_memory_mb'] == 101.0
    assert row['latency']['median'] == pytest.approx(30.0)
    assert row['latency']['iqr'] == pytest.approx(20.0)
    assert row['onnx']['median'] == pytest.approx(6.0)
    assert row['onnx']['relative_error'] == 3e-6
    assert row['compiled'] == {'unavailable': 'no compiler'}
    assert (row['passes'], row['size']) == (2, SIZE)
    assert tables.errors_of(row) == []
    line = cells_in(tables.speed_table([row]).splitlines()[4])
    assert line[:6] == ['ViT', '224', '5.72', '1.25', '2.50', '8']
    assert line[6:] == ['4 (3)', '101', '30 (20)', 'no compiler', '6 (1)', '3e-06', 'a note']


def test_an_error_in_any_pass_is_told() -> None:
    broken = [FIRST, {'size': SIZE, 'latency': {'error': 'RuntimeError: no'}}]
    row = make(passes=broken)
    assert row['latency'] == {'error': 'RuntimeError: no'}
    assert tables.errors_of(row) == ['latency: RuntimeError: no']
    assert '- error, ViT, latency: RuntimeError: no' in tables.speed_table([row])
    unbuilt = make(passes=[{'size': {'error': 'ValueError: x'}}])
    assert tables.errors_of(unbuilt) == ['size: ValueError: x']
    assert '| error | error | error |' in tables.speed_table([unbuilt])


def test_table_2_has_every_published_row_beside_what_was_measured() -> None:
    text = tables.paper_table([make(), make('resnet18', [{'size': {'error': 'x'}}])])
    lines = text.splitlines()[2:]
    assert (lines[0].count('*paper*'), lines[0].count('*measured*')) == (5, 3)
    cells = {row[0]: row[1:] for row in map(cells_in, lines[2:]) if len(row) > 1}
    assert list(cells) == [row.label for row in PUBLISHED]
    assert cells['MAE-Tiny'] == ['6', '5.72', '1.25', '4020', '4 (3)', '78.0', '84.3', '66.2']
    assert cells['MAE-Tiny, 1000 epochs'][1:5] == ['5.72', '1.25', '3956', '4 (3)']
    assert cells['ResNet-18'][1:5] == ['error', 'error', '8951', '']
    assert cells['ResNet-50'][1:5] == ['*not run*', '*not run*', '2696', '']
    assert cells['MobileNet-v2'][5:] == ['72.0', '-', '-']
    assert cells['LVT'] == ['6', 'not in timm', 'not in timm', '-', '', '74.8', '-', '-']


def test_pictures_are_of_models_with_a_published_accuracy_numbered_by_it(tmp_path: Path) -> None:
    files = tables.draw([make(), make('vit_tiny_3h')], tmp_path)
    assert [file.name for file in files] == ['throughput.png', 'latency.png', 'onnx.png']
    assert tables.draw([make('vit_tiny_3h')], tmp_path) == []
    figure = tables.scatter([(row, row.images_per_s or 3300) for row in PUBLISHED], 'images/s')
    (axes,), (legend,) = figure.axes, figure.legends
    ranked = sorted(PUBLISHED, key=lambda row: -row.top1)
    names = [text.get_text().split('  ') for text in legend.get_texts()]
    assert names == [[str(rank), row.label] for rank, row in enumerate(ranked, 1)]
    places = {text.get_text(): text.xy for text in axes.texts}
    assert places['1'] == (2696, 80.4)  # ResNet-50
    assert len(places) == len(PUBLISHED)
