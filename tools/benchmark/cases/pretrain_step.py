"""Compare our pre-training steps with Hugging Face's, Meta's and the papers' way of writing them.

The variants of a method take turns in one process; peak memory is measured in a process of its own
each.

Example:
    python tools/benchmark/run.py pretrain_step --batch 32 --json step.json
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch

from .. import harness
from ..references.pretraining import RIVALS, MAEReference

METHODS = {
    'mae': ('pretrain/mae_vit-tiny', ('reference', 'huggingface')),
    'dmae': ('pretrain/dmae_vit-tiny', ('reference',)),  # ViT-Base is the teacher
    'd2mae': ('pretrain/d2mae_vit-tiny', ('reference',)),
    'hiera': ('pretrain/mae_hiera-tiny', ('meta', 'huggingface')),
}
"""Our config, and its rivals; the reference is ours, written as the papers do."""
SIDE = 224  # of the images in pixels
BATCH = {'cpu': 32, 'cuda': 256}
OPTIONS = {
    'methods': dict(nargs='+', choices=list(METHODS), default=list(METHODS), help='which'),
    **harness.ON_DEVICE,
    'repeats': 7,
}


class TrainingStep:
    """Loss, backward pass and AdamW of a variant; a call is a step."""

    def __init__(self, method: str, variant: str, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        if variant in ('huggingface', 'meta'):
            loss = RIVALS[method, variant]()
        else:
            model = harness.build_random(METHODS[method][0])
            loss = (
                MAEReference(model)
                if variant == 'reference'
                else harness.Applied(
                    model, lambda inner, images: sum(inner(images, mode='loss').values())
                )
            )
        self.args, self.loss = args, loss.to(args.device).train()
        self.images = torch.randn(args.batch, 3, SIDE, SIDE, device=args.device)
        parameters = [p for p in self.loss.parameters() if p.requires_grad]
        fused = None if variant == 'reference' else True
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.05, fused=fused)

    def __call__(self) -> None:
        """Run one step."""
        self.optimizer.zero_grad(set_to_none=True)
        with harness.autocast(self.args):
            loss = self.loss(self.images)
        loss.backward()
        self.optimizer.step()


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> Any:
    """Time all variants of a method, or measure the memory of one."""
    method = task['method']
    if 'memory' in task:
        step = TrainingStep(method, task['memory'], args)
        return harness.measure_memory({'step': step}, args.device)['step']
    steps = {name: TrainingStep(method, name, args) for name in ('ours', *METHODS[method][1])}
    return harness.compare(steps, args.repeats, 2, device=args.device)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every method."""
    rows: list[dict[str, Any]] = []
    for method in args.methods:
        for variant, row in harness.run_worker(args, method=method).items():
            row |= {'method': method, 'variant': variant, 'batch': args.batch}
            row |= harness.run_worker(args, method=method, memory=variant)
            rows.append(row | {'images_per_s': args.batch / row['median']})
    columns: dict[str, harness.Column] = {
        'method': '{method}',
        'variant': '{variant}',
        'we are faster by': '{ratio:.2f}x',
        'images/s': '{images_per_s:.4g}',
        's/step (IQR)': harness.spread(),
        'peak MiB': '{peak_mb:.0f}',
    }
    return harness.Report(
        rows, harness.table(f'Pre-training step, batch {args.batch}', columns, rows)
    )
