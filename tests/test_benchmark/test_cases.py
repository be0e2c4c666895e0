"""The harness, and every case once in its smallest size: numbers fit, tables are there."""

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mmseg.datasets  # noqa: F401  prints on its first import
import pytest
import torch
from torch.autograd import DeviceType

from lightvit_dense.errors import UserError, run_tool
from tests.helpers.small_dense import classifier_config
from tools.benchmark import harness, run
from tools.benchmark.cases import deploy, pretrain_step, tracking_fps, training
from tools.benchmark.references.ostrack import build_tracker

Found = tuple[dict, str]


class FakeTime:
    """A clock that goes on only when a call says so."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float) -> harness.Call:
        """Return a call that takes these seconds, one after the other."""
        left = list(seconds)

        def run() -> None:
            self.log.append(name)
            self.now += left.pop(0)

        return run


def test_calls_take_turns_and_every_second_round_goes_backwards() -> None:
    time = FakeTime()
    calls = {'a': time.call('a', 9, 1, 2), 'b': time.call('b', 9, 3, 5)}
    told = []

    def prepare(number: int) -> None:
        told.append(number)
        time.now += 100  # is not timed

    after = lambda: told.append('.')  # noqa: E731
    seconds = harness.in_turns(calls, 2, 1, clock=time, prepare=prepare, after_round=after)
    assert ''.join(time.log) == 'ba' + 'ab' + 'ba'
    assert seconds == {'a': [1, 2], 'b': [3, 5]}
    assert told == [0, 0, 1, 1, '.', 2, 2, '.']


def test_variants_are_set_beside_the_first() -> None:
    time = FakeTime()
    calls = {'ours': time.call('a', 2, 4, 6), 'theirs': time.call('b', 6, 6, 6)}
    found = harness.compare(calls, 3, 0, clock=time, items=2)
    ours, theirs = found['ours'], found['theirs']
    assert (ours['median'], ours['iqr'], ours['samples']) == (2, 1, 3)
    assert theirs['ratio'] == 1.5  # the median of 3, 1.5 and 1


def test_workers_give_results_and_their_errors_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = 'classification_speed --modes throughput --batch 1 --repeats 3 --device cpu'
    args = run.parse_args(words.split())
    found = harness.run_worker(args, model='timm:test_vit', threads=1)
    assert found['size']['parameters'] == 371_240
    for status, error, told in (
        (1, RuntimeError, 'the worker ended with status 1'),
        (2, UserError, 'see the message above'),
    ):
        (tmp_path / 'python').write_text(f'#!/bin/sh\nexit {status}\n')
        (tmp_path / 'python').chmod(0o755)
        monkeypatch.setattr(harness.sys, 'executable', str(tmp_path / 'python'))
        with pytest.raises(error, match=told):
            harness.run_worker(args, model='vit_tiny')


OPTIONS = [
    ('pretrain_step --device cpu --amp bf16', '--amp needs a GPU'),
    ('pretrain_step --device cuda', "device 'cuda' cannot be used"),
    ('training --device cuda', 'torch sees 0 GPU(s)'),
    ('pretrain_step --repeats 0', '--repeats: must be a whole number from 1 on, got 0'),
    ('pretrain_step --methods detectron', 'invalid choice'),
    ('pretrain_step --batch -1', '--batch: must be a whole number from 1 on, got -1'),
    ('data_pipeline --size 500', 'expected 2 arguments'),
    ('tracking_fps --threads two', '--threads: must be a whole number from 1 on, got two'),
    ('classification_speed --modes onyx', 'invalid choice'),
    ('classification_speed --device cpu --models vit_tinny', "Did you mean 'vit_tiny'"),
    ('no_such_case', 'invalid choice'),
]


@pytest.mark.parametrize(('words', 'message'), OPTIONS)
def test_bad_options_are_refused(
    words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    with pytest.raises(SystemExit, match='2'):
        run_tool(lambda: run.main(words.split()))
    assert message in capsys.readouterr().err


@pytest.fixture
def measure(
    workers_here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Found]:
    """Return a function that runs a case and returns what it wrote and printed."""

    def run_case(words: str) -> Found:
        file = tmp_path / 'found.json'
        assert run.main([*words.split(), '--json', str(file)]) == 0
        found, text = json.loads(file.read_text()), capsys.readouterr().out
        assert text.startswith(f'*measured* on {found["machine"]["cpu"]}')
        return found, text

    return run_case


SMALL = """
vit = dict(type='lightvit_dense.VisionTransformer', img_size=32, patch_size=8, pos_embed='sincos')
model = dict(
    type='lightvit_dense.MAE',
    backbone=dict(vit, arch=dict(embed_dim=32, depth=3, num_heads=4)),
    decoder=dict(embed_dim=16, num_heads=2),
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(vit, arch=dict(embed_dim=96, depth=6, num_heads=6)),
        pairs=[(3, 6)],
    ),
    data_preprocessor=dict(type='lightvit_dense.ImagePreprocessor', mean=[0] * 3, std=[1] * 3),
)
"""


def test_pretrain_step(
    measure: Callable[..., Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'small.py').write_text(SMALL)
    method = (str(tmp_path / 'small.py'), ('reference',))
    monkeypatch.setitem(pretrain_step.METHODS, 'mae', method)
    monkeypatch.setattr(pretrain_step, 'SIDE', 32)
    found, text = measure('pretrain_step --methods mae --batch 2 --repeats 2 --device cpu')
    ours, reference = found['results']
    assert (ours['variant'], reference['variant']) == ('ours', 'reference')
    assert ours['images_per_s'] == 2 / ours['median']
    assert ours['ratio'] == 1
    assert ours['peak_mb'] >= ours['grown_mb']
    assert '| mae | ours | 1.00x |' in text


def test_data_pipeline(measure: Callable[..., Found]) -> None:
    found, text = measure('data_pipeline --size 64 48 --crop 16 --repeats 2')
    assert found['settings']['size'] == [64, 48]
    rows = {row['name']: row for row in found['results']['training']}
    ours = {'ours, cv2', 'ours, packed raw', 'ours, packed jpeg'}
    assert {'reference', 'bare decode, cv2'} | ours <= set(rows)
    assert rows['reference']['ratio'] == 1
    assert max(row['floor'] for row in rows.values()) == 1
    assert '| bare decode, cv2 |' in text
    found, _ = measure('data_pipeline --segmentation --size 64 48 --crop 16 --repeats 1')
    names = [row['name'] for row in found['results']['segmentation']]
    assert names == ['reference', 'ours', 'bare decode']


def test_data_pipeline_of_the_device(measure: Callable[..., Found], monkeypatch) -> None:
    monkeypatch.setattr('torch.utils.data._utils.worker._worker_info', None)
    found, _ = measure('data_pipeline --device-input --size 64 48 --batch 2 --repeats 1')
    assert len(found['results']) == 4
    for rows in found['results'].values():
        assert [row['name'].split()[0] for row in rows] == ['augmented', 'augmented', 'bare']


def test_tracking_pairs(measure: Callable[..., Found]) -> None:
    found, text = measure('tracking_pairs --size 160 120 --pairs 2 --repeats 2')
    rows = {row['name']: row for row in found['results']}
    assert list(rows) == ['reference', 'ours', 'bare decode of both frames']
    assert rows['reference']['ratio'] == rows['bare decode of both frames']['floor'] == 1
    assert f'| ours | {rows["ours"]["per_s"]:.4g} |' in text


def test_tracking_fps(measure: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_fps, 'build_tracker', partial(build_tracker, small=True))
    monkeypatch.setattr(tracking_fps, 'FRAMES', 6)
    words = '--threads 1 --repeats 1 --trackers'
    found, text = measure(f'tracking_fps --ways ostrack torch onnx openvino {words} vit-tiny')
    rows = found['results']
    assert [row['way'] for row in rows] == ['ostrack', 'torch', 'onnx', 'openvino'] * 2
    hiera, _ = measure(f'tracking_fps --ways ostrack torch {words} hiera-tiny')
    assert [row['way'] for row in hiera['results']] == ['plain', 'torch'] * 2  # no 'ostrack'
    for row in rows:
        assert row['fps'] == 1 / row['median']
        assert row['stages']['network'] > row['stages']['post'] > 0
        assert row['way'] != 'torch' or row['box_error'] < 0.05
    reference, ours, onnx, *_ = rows
    assert reference['speedup'] == 1
    assert onnx['gflop'] == ours['gflop'] < reference['gflop']
    assert '**vit-tiny, 1 thread(s)**' in text


def test_deploy(
    measure: Callable[..., Found], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deploy, 'config_of', lambda name: classifier_config())
    monkeypatch.setattr('mmengine.model.BaseModule.init_weights', lambda self: None)  # it prints
    monkeypatch.setitem(sys.modules, 'executorch', None)
    words = '--runtimes onnx executorch --precisions fp32 --threads 1 --passes 2 --repeats 3'
    measure(f'deploy --models tiny {words} --files {tmp_path}')
    kept = tmp_path / 'tiny' / 'onnx-fp32.onnx'
    written = kept.stat().st_mtime_ns
    found, text = measure(f'deploy --models tiny {words} --files {tmp_path}')
    assert kept.stat().st_mtime_ns == written
    eager, onnx, phone = found['results']
    assert (eager['way'], eager['faster'], eager['calls']) == ('torch', 1, 6)
    assert (onnx['precision'], onnx['calls']) == ('fp32', 6)
    assert onnx['faster'] == pytest.approx(eager['p50_ms'] / onnx['p50_ms'])
    assert onnx['p50_ms'] <= onnx['p99_ms']
    assert 0.01 < onnx['mb'] < 1
    assert 'executorch is not installed' in phone['unavailable']
    assert '| tiny | executorch | fp32 | 1 |  |' in text


def test_classification_speed(measure: Callable[..., Found], tmp_path: Path) -> None:
    words = 'classification_speed --models timm:test_vit --batch 2 --repeats 3 --device cpu'
    found, text = measure(f'{words} --passes 2 --modes throughput latency --out {tmp_path}/out')
    (row,) = found['results']
    assert (row['image_size'], row['size']['parameters']) == (160, 371_240)
    assert row['latency']['relative_error'] == 0
    assert row['throughput']['samples'] == 2  # a third of the repeats, in two passes
    assert '| timm:test_vit | 160 | 0.37 |' in text
    assert '| MAE-Tiny | 6 | *not run* |' in (tmp_path / 'out/table2.md').read_text()


def test_training(workers_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        training.RANK | dict(TORCHDYNAMO_DISABLE='1', CUDA_VISIBLE_DEVICES='')
    ).items():
        monkeypatch.setenv(name, value)  # put back what the worker sets
    words = ['training', '--smoke', '--tasks', 'tracker', '--device', 'cpu', '--out', str(tmp_path)]
    assert run.main(words) == 0
    found = json.loads((tmp_path / 'training.json').read_text())
    rows = {row['way']: row for row in found['results']}
    assert list(rows) == ['eager', 'checkpointed', 'distributed', 'resumed', 'compiled']
    assert rows.pop('resumed')['drift'] == 0
    for row in rows.values():
        assert row['images_per_s'] == 2 / row['step_s']
        assert row['gflop'] == rows['eager']['gflop'] > row['mfu'] > 0
        assert row['loss'] == pytest.approx(rows['eager']['loss'])
    lines = (tmp_path / 'training.md').read_text().splitlines()
    assert lines[2].startswith('| task | way | precision | batch | images_per_s | gflop | mfu |')
    assert lines[-2].startswith('| tracker | resumed | fp32 | 2 |  |')


def test_ends_of_workers_and_of_the_time_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_worker(args: Namespace, limit: float, rows: list) -> list:
        time.now += 20
        if limit == 100:
            raise RuntimeError(f'training, {rows}}}: the worker ended with status -9')
        if limit == 80:
            raise subprocess.TimeoutExpired(['x'], 20)
        return [row | {'step_s': 1.0} for row in rows]

    time = FakeTime()
    monkeypatch.setattr(training, 'time', SimpleNamespace(time=time))
    monkeypatch.setattr(harness, 'run_worker', run_worker)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda **options: True)
    args = Namespace(device='cuda', tasks=['mae', 'dmae'], smoke=False, minutes=5 / 3)
    args.out = str(tmp_path)
    report = training.measure(args)
    assert report.status == 1
    rows = [[str(value) for key, value in row.items() if key != 'batch'] for row in report.results]
    killed, late = 'the worker ended with status -9', 'timed out after 20 seconds'
    assert [' '.join(row) for row in rows] == [
        *(f'mae eager {kind} {killed}' for kind in ('bf16', 'fp16')),
        *(f'dmae eager {kind} {late}' for kind in ('bf16', 'fp16')),
        'mae checkpointed bf16 1.0',
        'dmae checkpointed bf16 1.0',
        'mae distributed bf16 no time left',
        'mae resumed bf16 no time left',
        *(f'{t} compiled {k} no time left' for k in ('bf16', 'fp16') for t in ('mae', 'dmae')),
    ]
    assert (tmp_path / 'training.md').read_text().count('no time left') == 6


def test_a_step_without_memory_gets_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_speed(cfg: Any, row: dict, device: str) -> dict:
        assert cfg.train_dataloader.dataset.images == row['batch']
        assert cfg.engine.amp == row['precision']
        assert cfg.engine.activation_checkpointing
        if row['batch'] > 100:
            raise torch.OutOfMemoryError('CUDA out of memory')
        raise ValueError('unfit')

    monkeypatch.setattr(training, 'measure_speed', measure_speed)
    row = dict(task='maskrcnn', way='checkpointed', precision='bf16', batch=256)
    found = training.attempt(row, Namespace(smoke=False, device='cuda'))
    assert found == row | {'batch': 64, 'error': 'ValueError: unfit'}


def test_a_trace_tells_device_host_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def event(key: str, device: int, host: int, kind: Any = DeviceType.CPU) -> SimpleNamespace:
        named = dict(key=key, device_type=kind, is_user_annotation=key == 'step')
        return SimpleNamespace(
            **named, self_device_time_total=device, self_cpu_time_total=host, count=4
        )

    on_gpu = [event('gemm', 8_000_000, 0, DeviceType.CUDA), event('step', 9, 0, DeviceType.CUDA)]
    events = [
        *on_gpu,
        event('aten::mm', 8_000_000, 5),
        event('cudaStreamSynchronize', 0, 2_000_000),
    ]
    meter, clock = training.StepMeter((1, 3, 5)), FakeTime()
    meter.start, meter.trace = 0, SimpleNamespace(stop=lambda: None, key_averages=lambda: events)
    monkeypatch.setattr(training, 'time', SimpleNamespace(perf_counter=clock))
    clock.now = 6.0
    meter.before_train_iter(SimpleNamespace(iter=5, model=torch.nn.Linear(1, 1)), 5)
    assert meter.found == {'device_s': 4.0, 'host_s': 2.0, 'waits': 2.0}
