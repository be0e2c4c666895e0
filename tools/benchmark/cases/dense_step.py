"""Compare our ViTDet backbone with Hugging Face's and timm's: time, memory, numbers.

All have the same size and the same weights. They take turns in one process; each peak of memory is
measured in a process of its own. The tables also say how far the outputs and gradients are from
ours, and what share of the rate of a large matrix product is reached.

Example:
    python tools/benchmark/run.py dense_step --threads 2 --json dense_step.json
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.compat.allocator import keep_freed_memory
from lightvit_dense.errors import UserError
from lightvit_dense.utils.environment import count_flops

from .. import harness
from ..references.vitdet import VARIANTS, VitDetSize, build_backbone, common_weights, our_backbone

PASSES = {'forward': 'Forward pass', 'step': 'Training step'}
BATCH = {'cpu': 1, 'cuda': 8}
OPTIONS = {
    'sizes': dict(nargs='+', type=int, default=[640, 1024], help='sides in pixels'),
    'variants': dict(nargs='+', choices=VARIANTS, default=VARIANTS, help='beside ours'),
    'keep-freed-memory': dict(
        action='store_true',
        help="reuse freed memory as our training on a CPU does (not glibc's way)",
    ),
    **harness.ON_DEVICE,
    'repeats': 5,
}


def check(args: argparse.Namespace) -> None:
    """Check the sizes."""
    for side in args.sizes:
        if side < 16 or side % 16:
            raise UserError(f'--sizes {side}: give multiples of the 16 px of a patch')


def mean_square(model: Any, images: Tensor) -> Tensor:
    """Return a loss on the map that is simple enough to cost nothing."""
    return model(images)[0].float().square().mean()


class Backbone:
    """One variant on its device, called with random images."""

    def __init__(self, variant: str, size: VitDetSize, args: argparse.Namespace) -> None:
        self.args = args
        self.model = build_backbone(variant, size, common_weights(size)).to(args.device).train()
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(args.batch, 3, size.image, size.image, generator=generator)
        self.images = images.to(args.device)
        self.passes = {'forward': self.forward, 'step': self.step}

    @torch.no_grad()
    def forward(self) -> None:
        """Compute the map."""
        with harness.autocast(self.args):
            self.model(self.images)

    def step(self, side: int | None = None) -> None:
        """Compute the map and all gradients, of all images or of the corner of the first."""
        images = self.images[: 1 if side else None, :, :side, :side]
        self.model.zero_grad(set_to_none=True)
        with harness.autocast(self.args):
            loss = mean_square(self.model, images)
        loss.backward()

    def outputs(self) -> dict[str, Tensor]:
        """Return the map and the gradient of the images, in full precision."""
        images = self.images.clone().requires_grad_()
        (out,) = self.model(images)
        # Squares alone would leave the gradient of a constant nearly zero.
        weights = torch.linspace(-1, 1, out.numel(), device=out.device).reshape(out.shape)
        (gradient,) = torch.autograd.grad((out * weights).sum(), [images])
        return {'output_error': out.detach(), 'gradient_error': gradient}


def count_arithmetic(size: VitDetSize, batch: int) -> dict[str, int]:
    """Count a pass's least arithmetic: products, with attention written out; computes nothing."""
    model = our_backbone(size, explicit=True).to('meta')
    images = torch.zeros(batch, 3, size.image, size.image, device='meta')
    with torch.no_grad():
        forward = count_flops(lambda: model(images))
    step = count_flops(lambda: mean_square(model, images).backward())
    return {'forward': forward, 'step': step}


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> Any:
    """Time all variants at a size, or measure the memory of one."""
    if args.keep_freed_memory and not keep_freed_memory():
        raise UserError('--keep-freed-memory works with glibc on Linux only: leave it out')
    size = VitDetSize(task['side'])
    if 'memory' in task:
        model = Backbone(task['memory'], size, args)
        model.step(side=64)  # so that no library is loaded later
        return harness.measure_memory(model.passes, args.device)
    flops = count_arithmetic(size, args.batch)
    models = {n: Backbone(n, size, args) for n in dict.fromkeys(['ours', *args.variants])}
    outputs = {name: model.outputs() for name, model in models.items()}
    rows = []
    for name, mine in outputs.items():
        rows.append({'variant': name, **asdict(size), 'batch': args.batch})
        for key, ours in outputs['ours'].items():
            rows[-1][key] = ((mine[key] - ours).abs().max() / ours.abs().max()).item()
    for what in PASSES:
        calls = {name: model.passes[what] for name, model in models.items()}
        options: dict[str, Any] = dict(flops=dict.fromkeys(calls, flops[what]), amp=args.amp)
        found = harness.compare(calls, args.repeats, device=args.device, **options)
        rows = [row | {what: found[row['variant']]} for row in rows]
    return rows


COLUMNS: dict[str, harness.Column] = {
    'variant': '{variant}',
    's (IQR)': harness.spread(),
    'we are faster by': '{ratio:.2f}x',
    'of the matmul rate': '{share:.0%}',
    'grown MiB': '{grown_mb:.0f}',
    'ours of grown': '{ours_of_grown_mb:.2f}x',
    'output off by': '{output_error:.0e}',
    'gradient off by': '{gradient_error:.0e}',
}
NOTE = (
    'Errors are relative to the largest value. The least arithmetic has attention written out; its '
    'share is of the rate of a large matrix product in the same run. "Grown" is the peak without '
    'what libraries, weights and images take.'
)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every size."""
    results, tables = [], []
    for side in args.sizes:
        rows = harness.run_worker(args, side=side)
        for row in rows:
            for what, taken in harness.run_worker(args, side=side, memory=row['variant']).items():
                row[what] |= taken
                if taken['grown_mb'] > 0:  # a tiny model may fit into what was there
                    ours = rows[0][what]['grown_mb']
                    row[what]['ours_of_grown_mb'] = ours / taken['grown_mb']
        for what, title in PASSES.items():
            least = f'batch {args.batch}, at least {rows[0][what]["gflop"]:.1f} GFLOP'
            cells = [row | row[what] for row in rows]
            tables.append(harness.table(f'{title}, {side} px ({least})', COLUMNS, cells))
        results += rows
    return harness.Report(results, '\n'.join([*tables, NOTE]))
