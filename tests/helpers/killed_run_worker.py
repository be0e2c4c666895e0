"""A training that is killed ten times, and the same training left in peace.

Run as ``killed_run_worker.py DIRECTORY SEED``. Attempts are forks of this process, which imports
the packages once and computes nothing, so that it has no threads that a fork would lose.
"""

import gc
import hashlib
import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from yapf.yapflib import yapf_api

from lightvit_dense import apis
from lightvit_dense.engine.hooks import checkpoint
from tests.helpers.processes import Fork
from tests.helpers.small_dense import SIDE, detector_config, write_coco

# What a run looks up in registries is imported here, once.
PACKAGES = ('mmdet.models', 'mmdet.datasets', 'mmdet.visualization')
PACKAGES += ('lightvit_dense.models', 'lightvit_dense.datasets')
ITERATIONS = 18
KILLS = ['any moment'] * 5 + ['half a file'] * 2 + ['before the pointer', 'half a pointer']
KILLS += ['before old files go']


@HOOKS.register_module()
class DiaryHook(Hook):
    """Writes what every iteration saw and lost, and tells the parent that it is over."""

    priority = 'LOW'  # before CheckpointHook

    def __init__(self, path: str, pipe: int) -> None:
        self.diary = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pipe = pipe

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Write a line; a single write is never torn."""
        digest = hashlib.sha256()
        for image in data_batch['inputs']:
            digest.update(image.numpy().tobytes())
        loss = runner.message_hub.get_scalar('train/loss').current()
        os.write(self.diary, f'{runner.iter} {digest.hexdigest()[:16]} {loss!r}\n'.encode())
        os.write(self.pipe, b'.')


def training_config(root: Path) -> Config:
    """Return the small detector's training with drop path, without validation."""
    cfg = detector_config()
    cfg.model.backbone.drop_path_rate = 0.3
    cfg.model.train_cfg.rpn.sampler.num = 32
    cfg.model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=16)
    cfg.model.train_cfg.rcnn.sampler.num = 16
    cfg.train_dataloader.batch_size = 2
    dataset = cfg.train_dataloader.dataset
    dataset.update(data_root=str(root), ann_file='val.json', data_prefix=dict(img='images/'))
    for step in dataset.pipeline:
        step.update({key: (SIDE, SIDE) for key in ('scale', 'crop_size') if key in step})
    for part in ('dataloader', 'evaluator', 'cfg'):
        cfg[f'val_{part}'] = cfg[f'test_{part}'] = None
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.param_scheduler = [
        dict(type='mmengine.LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=8)
    ]
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2)
    cfg.default_hooks.pop('visualization')
    cfg.engine.ema = dict(momentum=0.1)
    return cfg


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def prepare_death(how: str, luck: random.Random) -> None:
    """Make this process die at a certain point of writing its second checkpoint."""
    seen, share = [], luck.random()
    write, write_bytes = checkpoint.atomic_write, Path.write_bytes
    pointer = how.endswith('pointer')

    def half(self, data) -> None:
        write_bytes(self, data[: int(len(data) * share)])
        die()

    def write_or_die(path, data) -> None:
        if (Path(path).name == 'last_checkpoint') == pointer:
            seen.append(path)
            if len(seen) == 2 and how == 'before the pointer':
                die()
            if len(seen) == 2 and how.startswith('half'):
                Path.write_bytes = half
        write(path, data)

    def remove_or_die(self) -> None:
        if self._doomed:
            die()

    checkpoint.atomic_write = write_or_die
    if how == 'before old files go':
        checkpoint.CheckpointHook._remove_doomed = remove_or_die


def attempt(folder: Path, cfg, how: str | None, luck: random.Random, pace: float) -> tuple:
    """Train in a fork to its end, or until killed as ``how`` says; return status and beats."""
    reading, writing = os.pipe()

    def run() -> None:
        os.close(reading)
        sys.stdout = sys.stderr = (folder / 'log.txt').open('a', 1)
        if how not in (None, 'any moment'):
            prepare_death(how, luck)
        diary = dict(type='DiaryHook', path=str(folder / 'diary.txt'), pipe=writing)
        cfg.custom_hooks = [*cfg.custom_hooks, diary]
        apis.train(cfg, work_dir=folder, resume=True)

    process = Fork(run)
    os.close(writing)
    beats, last = 0, 1 if how == 'any moment' else -1
    while os.read(reading, 1):
        beats += 1
        if beats == last:
            time.sleep(luck.uniform(0, 1.2) * pace)
            process.kill()
            break
    os.close(reading)
    return process.wait(), beats


def main() -> None:
    """Train in peace, then with ten kills; tell how each attempt ended."""
    directory, seed = Path(sys.argv[1]), int(sys.argv[2])
    for package in PACKAGES:
        import_module(package)
    # A fork formats its config anew, which would take longer than the training.
    yapf_api.FormatCode = lambda text, style_config: (text, True)
    gc.freeze()
    torch.set_num_threads(1)
    write_coco(directory / 'data', count=12)
    cfg = training_config(directory / 'data')
    luck = random.Random(seed)
    kills = luck.sample(KILLS, len(KILLS))
    ends, pace = [], 0.0
    for name, plan in (('whole', [None]), ('killed', [*kills, None])):
        folder = directory / name
        folder.mkdir()
        for how in plan:
            began = time.monotonic()
            status, beats = attempt(folder, cfg.copy(), how, luck, pace)
            seconds = time.monotonic() - began
            pace = pace or seconds / ITERATIONS
            ends.append(dict(run=name, how=how, status=status, beats=beats, seconds=seconds))
    print(json.dumps(ends))


if __name__ == '__main__':
    main()
