import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightvit_dense.analysis import inference_speed
from lightvit_dense.analysis.classification_models import SpeedModel
from lightvit_dense.analysis.inference_speed import (
    Inference,
    SpeedSettings,
    compiled_cell,
    fit_batch,
    measure_model,
    throughput_cell,
    timed_calls,
)

QUICK = SpeedSettings(batch=4, budget=5.0, repeats=3, warmup=1, threads=1)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.fc = nn.Linear(4, 5)
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return self.fc(self.conv(images).mean((2, 3)))


def test_a_batch_is_halved_until_it_fits_into_memory() -> None:
    tried = []

    def run(batch: int) -> float:
        tried.append(batch)
        if batch > 20:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return 1e-6 * batch

    assert fit_batch(run, 128, seconds=1) == 16
    assert tried == [16, 16, 128, 64, 32, 16]

    def never(batch: int) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="can't allocate"):
        fit_batch(never, 8, seconds=1)


def test_a_batch_is_halved_until_it_fits_into_the_time() -> None:
    tried = []

    def run(batch: int) -> float:
        tried.append(batch)
        return 0.1 * batch

    assert fit_batch(run, 64, seconds=2.0) == 16
    assert max(tried) == 16  # larger ones were never run, so that the peak of memory is this one's

    def broken(batch: int) -> float:
        raise RuntimeError('shapes do not fit')

    with pytest.raises(RuntimeError, match='shapes'):
        fit_batch(broken, 64, seconds=2.0)


def test_calls_end_with_the_budget() -> None:
    calls: list[None] = []

    def call() -> None:
        calls.append(None)
        time.sleep(0.02)

    seconds = timed_calls(call, 100, SpeedSettings(budget=0.01, warmup=2))
    assert len(seconds) == inference_speed.MIN_CALLS
    assert len(calls) == 2 + len(seconds)
    assert min(seconds) >= 0.02
    assert len(timed_calls(call, 2, QUICK)) == 2


def test_throughput_is_of_the_batch_that_ran() -> None:
    model = Tiny().eval()
    cell = throughput_cell(Inference(model, 8, QUICK), QUICK)
    assert cell['batch'] == 4
    assert model.batches[-1] == 4
    assert len(cell['seconds']) == 1  # a third of the repeats
    assert cell['peak_memory_mb'] > 0


# In a process of its own: what other tests left behind would blur the peak.
MEMORY = """
import json
import torch
from lightvit_dense.analysis.inference_speed import Inference, SpeedSettings, throughput_cell

class Wide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(16, 2**20))  # 64 MiB

    def forward(self, images):
        grown = torch.ones(len(images), 256 * 2**18)  # 256 MiB an image
        return grown.sum(1, keepdim=True) + self.weight[0, :1]

settings = SpeedSettings(**json.loads({options!r}))
cell = throughput_cell(Inference(Wide(), 8, settings), settings)
print(json.dumps([cell['batch'], cell['peak_memory_mb']]))
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads the peak that Linux keeps')
def test_memory_is_that_of_weights_and_batches() -> None:
    # On a busy machine the batch would be made smaller, but for the large budget.
    options = json.dumps(asdict(replace(QUICK, budget=600.0)))
    words = [sys.executable, '-c', MEMORY.format(options=options)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    batch, peak = json.loads(done.stdout.splitlines()[-1])
    assert batch == 4
    assert peak == pytest.approx(64 + 4 * 256, rel=0.1)


def test_inference_is_eager_torch() -> None:
    model = Tiny().eval()
    inference = Inference(model, 8, SpeedSettings(channels_last=True))
    images = inference.images(2)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inference(images), model(images.contiguous()))
    assert torch.equal(images, inference.images(2))


def measured(model: nn.Module, modes: tuple[str, ...]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    entry = SpeedModel('tiny', lambda: model, 8)
    measure_model(entry, modes, QUICK, cells.__setitem__)
    return cells


def test_all_cells_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_speed.measure, 'cpp_compiler', lambda: None)
    cells = measured(Tiny(), ('throughput', 'latency', 'compiled', 'onnx'))
    macs = 4 * 7 * 7 * 3 * 2 * 2 + 4 * 5
    assert cells['size'] == {'parameters': 52 + 25, 'macs': macs, 'flops': 2 * macs}
    assert len(cells['latency']['seconds']) == 3
    assert cells['compiled'] == {'unavailable': 'no compiler'}
    assert cells['onnx']['relative_error'] < 1e-5
    assert len(cells['onnx']['seconds']) == 3


def test_one_broken_mode_leaves_the_others() -> None:
    class NoBatch(Tiny):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 1:
                raise RuntimeError('one at a time\nand more about it')
            return super().forward(images)

    cells = measured(NoBatch(), ('throughput', 'latency'))
    assert cells['throughput'] == {'error': 'RuntimeError: one at a time'}
    assert len(cells['latency']['seconds']) == 3


def test_a_model_that_cannot_be_built_is_an_error_in_all_cells() -> None:
    def build() -> nn.Module:
        raise ValueError('no such width')

    cells: dict[str, Any] = {}
    measure_model(SpeedModel('broken', build), ('latency', 'onnx'), QUICK, cells.__setitem__)
    assert cells['size'] == {'error': 'ValueError: no such width'}
    text = 'the model was not built: ValueError: no such width'
    assert cells['latency'] == cells['onnx'] == {'error': text}


@pytest.mark.parametrize(('factor', 'refused'), [(1.0, False), (1.01, True)])
def test_compiled_logits_are_compared(
    factor: float, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Tiny().eval()
    monkeypatch.setattr(inference_speed.measure, 'cpp_compiler', lambda: 'c++')
    monkeypatch.setattr(torch, 'compile', lambda eager: lambda images: factor * eager(images))
    inference = Inference(model, 8, QUICK)
    if refused:
        with pytest.raises(ValueError, match=r'compiled model differs .* 1.0e-02'):
            compiled_cell(inference, QUICK)
    else:
        assert compiled_cell(inference, QUICK)['relative_error'] < 1e-6
    assert inference.model is model
