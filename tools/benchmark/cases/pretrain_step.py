"""Compare our pre-training steps with Hugging Face's, Meta's and the papers' way of writing them.

The variants of a method take turns in one process; peak memory is measured in a process of its own
each.

Example:
    python tools/benchmark/run.py pretrain_step --batch 32 --json step.json
    python tools/benchmark/run.py pretrain_step --device cuda --amp bf16 --compile --batch 1024
"""

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from .. import harness
from ..references import pretraining
from ..steps import STEP_COLUMNS, Loss, TrainingStep, build_model, per_image, sum_of_losses


class Method(NamedTuple):
    """A pre-training method: our config below ``configs/pretrain``, and its rivals."""

    title: str
    config: str
    rivals: tuple[str, ...]


METHODS = {
    'mae': Method('MAE, ViT-Tiny', 'mae_vit-tiny.py', ('reference', 'huggingface')),
    'dmae': Method('D-MAE, ViT-Tiny, ViT-Base teacher', 'dmae_vit-tiny.py', ('reference',)),
    'd2mae': Method('D²-MAE, ViT-Tiny, ViT-Base teacher', 'd2mae_vit-tiny.py', ('reference',)),
    'hiera': Method('MAE, Hiera-Tiny', 'mae_hiera-tiny.py', ('meta', 'huggingface')),
}
SIDE = 224  # of the images in pixels
VARIANTS = {
    'ours': 'ours',
    'compiled': 'ours, compiled',
    'reference': 'ours, written as the papers do',
    'meta': "Meta's hiera-transformer",
    'huggingface': 'Hugging Face',
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this case."""
    parser.add_argument('--methods', nargs='+', choices=list(METHODS), default=list(METHODS))
    harness.add_options(parser, batch=None, amp='none', compile=False, device=None, threads=None)
    harness.add_options(parser, repeats=7, warmup=2, no_memory=False)


def check(args: argparse.Namespace) -> None:
    """Choose the batch: 32 on a CPU, 256 on a GPU."""
    args.batch = args.batch or (32 if args.device == 'cpu' else 256)


def make_step(method: str, variant: str, args: argparse.Namespace) -> TrainingStep:
    """Build the training step of a variant of a method."""
    torch.manual_seed(0)
    if variant in ('huggingface', 'meta'):
        loss = pretraining.RIVALS[method, variant]()
    else:
        model = build_model(harness.ROOT / 'configs/pretrain' / METHODS[method].config)
        loss = Loss(model, sum_of_losses)
        if variant == 'reference':
            loss = pretraining.MAEReference(model)
    images = torch.randn(args.batch, 3, SIDE, SIDE, device=args.device)
    options = dict(fused=variant != 'reference', compiled=variant == 'compiled')
    return TrainingStep(loss, (images,), args.device, args.amp, **options)


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> Any:
    """Time all variants of a method, or measure the memory of one."""
    method = task['method']
    if 'memory' in task:
        step = make_step(method, task['memory'], args)
        return harness.measure_memory({'step': step}, args.device)['step']
    names = ['ours', *(['compiled'] if args.compile else []), *METHODS[method].rivals]
    variants = {}
    for name in names:
        step = make_step(method, name, args)
        variants[name] = harness.Variant({'step': step}, {'step': step.count_flops()})
    dtype = harness.DTYPES[args.amp]
    return harness.compare(variants, args.repeats, args.warmup, args.device, dtype)['step']


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every method."""
    rows: list[dict[str, Any]] = []
    for place, method in enumerate(args.methods, 1):
        harness.progress(f'[{place}/{len(args.methods)}] {METHODS[method].title}')
        for variant, row in harness.run_worker(args, method=method).items():
            row |= {'method': method, 'variant': variant}
            if not args.no_memory:
                row |= harness.run_worker(args, method=method, memory=variant)
            rows.append(per_image(row, args.batch))
    columns = {
        'method': lambda row: METHODS[row['method']].title if row['variant'] == 'ours' else '',
        'variant': lambda row: VARIANTS[row['variant']],
        'we are faster by': lambda row: '' if row['variant'] == 'ours' else f'{row["ratio"]:.2f}x',
    }
    title = f'Pre-training step, batch {args.batch}'
    return harness.Report(rows, harness.table(title, columns | STEP_COLUMNS, rows))
