"""Compare our pre-training steps with Hugging Face's, Meta's and the papers' way of writing them.

The variants of a method take turns in one process; peak memory is measured in a process of its own
each.

Example:
    python tools/benchmark/run.py pretrain_step --batch 32 --json step.json
    python tools/benchmark/run.py pretrain_step --device cuda --amp bf16 --compile --batch 1024
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import harness
from ..references import pretraining
from ..steps import STEP_COLUMNS, Loss, TrainingStep, build_model, per_image

METHODS = {
    'mae': ('MAE, ViT-Tiny', 'mae_vit-tiny.py', ('reference', 'huggingface')),
    'dmae': ('D-MAE, ViT-Tiny, ViT-Base teacher', 'dmae_vit-tiny.py', ('reference',)),
    'd2mae': ('D²-MAE, ViT-Tiny, ViT-Base teacher', 'd2mae_vit-tiny.py', ('reference',)),
    'hiera': ('MAE, Hiera-Tiny', 'mae_hiera-tiny.py', ('meta', 'huggingface')),
}
"""A method's title, our config below ``configs/pretrain``, and its rivals."""
SIDE = 224  # of the images in pixels
VARIANTS = {
    'ours': 'ours',
    'compiled': 'ours, compiled',
    'reference': 'ours, written as the papers do',
    'meta': "Meta's hiera-transformer",
    'huggingface': 'Hugging Face',
}
OPTIONS = {
    'methods': dict(nargs='+', choices=list(METHODS), default=list(METHODS), help='which'),
    **harness.STEP_OPTIONS,
    'repeats': 7,
    'warmup': 2,
    'no-memory': False,
}


def check(args: argparse.Namespace) -> None:
    """Choose the batch: 32 on a CPU, 256 on a GPU."""
    args.batch = args.batch or (32 if args.device == 'cpu' else 256)


def sum_of_losses(model: Any, images: Tensor) -> Tensor:
    """Return the sum of a pre-trainer's losses for normalised images [B, 3, H, W]."""
    return torch.stack([*model(images, mode='loss').values()]).sum()


def make_step(method: str, variant: str, args: argparse.Namespace) -> TrainingStep:
    """Build the training step of a variant of a method."""
    torch.manual_seed(0)
    if variant in ('huggingface', 'meta'):
        loss = pretraining.RIVALS[method, variant]()
    else:
        model = build_model(harness.ROOT / 'configs/pretrain' / METHODS[method][1])
        reference = variant == 'reference'
        loss = pretraining.MAEReference(model) if reference else Loss(model, sum_of_losses)
    images = torch.randn(args.batch, 3, SIDE, SIDE, device=args.device)
    options = dict(fused=variant != 'reference', compiled=variant == 'compiled')
    return TrainingStep(loss, (images,), args.device, args.amp, **options)


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> Any:
    """Time all variants of a method, or measure the memory of one."""
    method = task['group']
    if 'memory' in task:
        step = make_step(method, task['memory'], args)
        return harness.measure_memory({'step': step}, args.device)['step']
    names = ['ours', *(['compiled'] if args.compile else []), *METHODS[method][2]]
    steps = {name: make_step(method, name, args) for name in names}
    flops = {name: step.count_flops() for name, step in steps.items()}
    return harness.compare(steps, args.repeats, args.warmup, args.device, args.amp, flops)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every method."""
    rows: list[dict[str, Any]] = []
    titles = {method: METHODS[method][0] for method in args.methods}
    for method, found in harness.run_groups(args, titles):
        for variant, row in found.items():
            row |= {'method': method, 'variant': variant}
            if not args.no_memory:
                row |= harness.run_worker(args, group=method, memory=variant)
            rows.append(per_image(row, args.batch))
    columns: dict[str, harness.Column] = {
        'method': lambda row: titles[row['method']] if row['variant'] == 'ours' else '',
        'variant': lambda row: VARIANTS[row['variant']],
        'we are faster by': '{ratio:.2f}x',
    }
    title = f'Pre-training step, batch {args.batch}'
    return harness.Report(rows, harness.table(title, columns | STEP_COLUMNS, rows))
