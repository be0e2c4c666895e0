"""Train every task for some steps on noise: images/s, memory, MFU, device against host.

It is the training of the task's config at its size, data aside: in bf16 and fp16 (fp32 on a CPU),
with activation checkpointing, in a process group of one, compiled. `mfu` is of the rate of a large
matrix product, `drift` how far a resumed training is from one that never stopped, as a part of what
its steps change. DIR/training.json and .md are written after each process.

Example:
    python tools/benchmark/run.py training --device cuda --out gpu
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.autograd import DeviceType
from torch.profiler import profile

from lightvit_dense.apis import load_config, train
from lightvit_dense.apis.recorded import without_sources
from lightvit_dense.compat import finish_distributed
from lightvit_dense.datasets.noise import noise_for
from lightvit_dense.registry import DATASETS, HOOKS, MODELS
from lightvit_dense.utils import environment
from lightvit_dense.utils.io import atomic_write, write_json
from lightvit_dense.utils.progress import clock
from lightvit_dense.utils.tables import to_markdown

from .. import harness

Row = dict[str, Any]
TASKS = {  # config, side of the images in pixels, images of a step; a small config and its side
    'mae': ('pretrain/mae_vit-tiny', 224, 512, 'toyworld/mae_student', 64),
    'dmae': ('pretrain/dmae_vit-tiny', 224, 512, 'toyworld/dmae_student', 64),
    'finetune': ('imagenet/finetune_mae_vit-tiny_300e', 224, 512, 'toyworld/vit_finetune', 64),
    'maskrcnn': ('coco/maskrcnn_dmae_tiny', 640, 8, 'toyworld/maskrcnn_mae', 128),
    'upernet': ('ade20k/upernet_dmae_tiny', 512, 16, 'toyworld/upernet_mae', 128),
    'tracker': ('lasot/ostrack256_dmae_tiny', 256, 128, 'toyworld/ostrack_mae', 64),
}
WAITS = ('cudaStreamSynchronize', 'cudaEventSynchronize')
WATCHERS = ('VisualizationHook', 'AgreementHook')  # which look at the data set
ALONE = ('distributed', 'resumed')  # ways of the first task alone
ENDS, SMOKE_ENDS = (8, 28, 31), (1, 3, 4)  # iterations where warm-up, timing and trace end
RANK = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
OPTIONS = {
    'tasks': dict(nargs='+', choices=list(TASKS), default=list(TASKS), help='which'),
    'smoke': dict(action='store_true', help='a few steps of two images on small models'),
    'minutes': dict(type=float, default=7.5, help='limit of the whole'),
    'out': dict(default='work_dirs/training_speed', metavar='DIR', help='folder of results'),
    'device': None,
}


@HOOKS.register_module()
class StepMeter(Hook):
    """Time steps after a warm-up, then trace some more; the numbers are in ``found``.

    ``first_s`` is the first step, with compilation; ``step_s`` the mean of the timed ones,
    ``peak_mb`` their memory. Of a traced step ``device_s`` is what kernels and copies take,
    ``host_s`` what the training thread takes, but for the ``waits`` for the device.

    Args:
        ends: The iterations at which warm-up, timing and trace end.
    """

    def __init__(self, ends: tuple[int, int, int]) -> None:
        self.ends = ends
        self.found: dict[str, Any] = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Look at the clock between two steps."""
        first, last, end = self.ends
        if runner.iter not in (0, 1, *self.ends):
            return
        handed_over, device = time.perf_counter(), next(runner.model.parameters()).device
        environment.synchronize(device)
        now = time.perf_counter()
        if runner.iter == 1:
            self.found['first_s'] = now - self.start
        if runner.iter == first:
            environment.reset_peak_memory(device)
        if runner.iter == last:
            self.found['step_s'] = (now - self.start) / (last - first)
            self.found['peak_mb'] = environment.peak_memory_mb(device)
            self.trace = profile(acc_events=True)  # on the CPU, and on the GPU if there is one
            self.trace.start()
        if runner.iter == end:
            self.trace.stop()
            events = [one for one in self.trace.key_averages() if not one.is_user_annotation]
            busy = sum(e.self_device_time_total for e in events if e.device_type == DeviceType.CUDA)
            waits = [e for e in events if e.key in WAITS]
            host = handed_over - self.start - sum(e.self_cpu_time_total for e in waits) / 1e6
            totals = dict(device_s=busy / 1e6, host_s=host, waits=sum(e.count for e in waits))
            self.found |= {key: total / (end - last) for key, total in totals.items()}
        self.start = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        """Note loss and loss scale."""
        self.found['loss'] = float(runner.message_hub.get_scalar('train/loss').current())
        if (scaler := getattr(runner.optim_wrapper, 'loss_scaler', None)) is not None:
            self.found['loss_scale'] = scaler.get_scale()  # 1 where it is off


def plan(args: argparse.Namespace) -> Iterator[list[Row]]:
    """Yield the rows of each process, the more important first."""
    kinds = ['fp32']
    if args.device != 'cpu':
        kinds = ['bf16', 'fp16'][not torch.cuda.is_bf16_supported(including_emulation=False) :]
    rounds = [('eager', kinds), *((way, kinds[:1]) for way in ('checkpointed', *ALONE))]
    for way, some in rounds + [('compiled', [kind]) for kind in kinds]:
        for task in args.tasks[: 1 if way in ALONE else None]:
            batch = 2 if args.smoke else TASKS[task][2]
            yield [dict(task=task, way=way, precision=kind, batch=batch) for kind in some]


def noise_config(row: Row, smoke: bool) -> Config:
    """Return the config of a short training on noise from random weights."""
    config, side, _, *small = TASKS[row['task']]
    config, side, ends = (*small, SMOKE_ENDS) if smoke else (config, side, ENDS)
    cfg, resumed = load_config(config, scope=True), row['way'] == 'resumed'
    length = 4 if resumed else ends[-1] + 1
    cfg.model = without_sources(cfg.model.to_dict())
    noise = noise_for(cfg, row['batch'], side)
    cfg.train_dataloader = dict(batch_size=1, num_workers=0, dataset=noise)
    cfg.train_dataloader.sampler = dict(type='lightvit_dense.SeededInfiniteSampler')
    cfg.train_dataloader.collate_fn = dict(type='lightvit_dense.only_item')
    for key in ('dataloader', 'evaluator', 'cfg'):
        cfg[f'val_{key}'] = cfg[f'test_{key}'] = None
    cfg.train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=length, val_interval=length)
    cfg.param_scheduler = cfg.visualizer = None  # one visualizer would serve all trainings
    cfg.log_processor, cfg.experiment_name = dict(by_epoch=False), row['way']
    cfg.optim_wrapper.optimizer.lr = 1e-5  # there is no warm-up
    saving = dict(by_epoch=False, interval=2 if resumed else 10 * length, save_last=False)
    cfg.default_hooks.checkpoint = dict(type='lightvit_dense.CheckpointHook', **saving)
    cfg.randomness = dict(seed=0, deterministic=resumed and torch.cuda.is_available())
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not hook.type.endswith(WATCHERS)]
    if not resumed:
        cfg.custom_hooks.append(dict(type='lightvit_dense.StepMeter', ends=ends))
    cfg.engine.amp = None if row['precision'] == 'fp32' else row['precision']
    cfg.engine.activation_checkpointing = row['way'] == 'checkpointed'
    cfg.engine.compile = row['way'] == 'compiled'
    return cfg


def count_gflop(cfg: Config, device: str) -> float:
    """Count the arithmetic of a training step for an image, without what is computed again."""
    model = MODELS.build(cfg.model).to(device).train()
    batch = DATASETS.build(cfg.train_dataloader.dataset | dict(images=2))[0]
    losses = lambda: model(**model.data_preprocessor(batch, True), mode='loss')  # noqa: E731
    return environment.count_flops(lambda: model.parse_losses(losses())[0].backward()) / 2e9


def measure_speed(cfg: Config, row: Row, device: str) -> Row:
    """Train, and return what the meter found."""
    distributed = row['way'] == 'distributed'
    os.environ.update(RANK if distributed else {})
    with tempfile.TemporaryDirectory() as folder:
        runner = train(cfg, folder, launcher='pytorch' if distributed else 'none')
    finish_distributed()
    found = next(hook.found for hook in runner.hooks if isinstance(hook, StepMeter))
    speed, gflop = row['batch'] / found['step_s'], count_gflop(cfg, device)
    rate = harness.matmul_rate(device, row['precision'])  # in GFLOP/s
    return dict(images_per_s=speed, gflop=gflop, mfu=gflop * speed / rate, matmul=rate) | found


def compare_resumed(cfg: Config) -> Row:
    """Train 4 steps, and the last 2 of them again from a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f'{folder}/{n}.pth' for n in ('whole/iter_2', 'whole/iter_4', 'resumed/iter_4')]
        train(cfg, f'{folder}/whole')
        train(cfg, f'{folder}/resumed', resume=files[0])
        start, end, again = (torch.load(f, 'cpu', weights_only=False)['state_dict'] for f in files)
    squares = [sum((end[k] - w[k]).double().square().sum() for k in end) for w in (again, start)]
    return dict(drift=float(squares[0] / squares[1]) ** 0.5)


def attempt(row: Row, args: argparse.Namespace) -> Row:
    """Measure a row, with fewer images where the memory does not suffice."""
    try:
        cfg = noise_config(row, args.smoke)
        if row['way'] == 'resumed':
            return row | compare_resumed(cfg)
        return row | measure_speed(cfg, row, args.device)
    except Exception as error:
        traceback.print_exc()
        if not isinstance(error, torch.OutOfMemoryError) or row['batch'] == 1:
            return row | dict(error=f'{type(error).__name__}: {error}'[:300])
    gc.collect()
    return attempt(row | dict(batch=row['batch'] // 2), args)


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> list[Row]:
    """Measure some rows."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # for deterministic=True
    return [attempt(row, args) for row in task['rows']]


def write(args: argparse.Namespace, rows: list[Row]) -> harness.Report:
    """Write the files; the status is 1 if a row has an error."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    show = lambda v: f'{v:.4g}' if isinstance(v, float) else str(v).replace('\n', ' ')  # noqa: E731
    text = to_markdown(names, [[show(row.get(name, '')) for name in names] for row in rows])
    machine = harness.describe(args)
    write_json(f'{args.out}/training.json', dict(machine=machine, results=rows))
    atomic_write(f'{args.out}/training.md', f'{machine["words"]}\n\n{text}'.encode())
    return harness.Report(rows, text, int(any('error' in row for row in rows)))


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure what is planned until the time is over."""
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = '-1'  # for the workers: trainings take a GPU
    end, rows, taken = time.time() + 60 * args.minutes, [], {'compiled': 90.0}
    for number, given in enumerate(todo := [*plan(args)]):
        began, way = time.time(), given[0]['way']
        if (left := end - began) < taken.get(way, 30.0):
            rows += [row | dict(skipped='no time left') for row in given]
            continue
        print(f'[{number + 1}/{len(todo)}] at most {clock(left)} left', file=sys.stderr, flush=True)
        try:
            rows += harness.run_worker(args, limit=left, rows=given)
            taken[way] = time.time() - began
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            why = str(error).split(']')[-1].strip("'}: ")  # behind what was asked for
            rows += [row | dict(error=why) for row in given]
        write(args, rows)
    return write(args, rows)
