r"""Compare our ViTDet backbone with Hugging Face's and timm's: time, memory, numbers.

All have the same size and the same weights. They take turns in one process; each peak of memory is
measured in a process of its own. The tables also say how far the outputs and gradients are from
ours, and what share of the rate of a large matrix product is reached.

Example:
    python tools/benchmark/run.py dense_step --threads 2 --json dense_step.json
    python tools/benchmark/run.py dense_step --device cuda --amp bf16 --batch 8 --compile \
        --variants ours checkpointed folded explicit huggingface timm
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.compat.allocator import keep_freed_memory
from lightvit_dense.errors import UserError
from lightvit_dense.utils.environment import count_flops

from .. import harness
from ..references.vitdet import (
    VARIANTS,
    VitDetSize,
    build_backbone,
    common_weights,
    our_backbone,
)
from ..steps import Loss, TrainingStep

PASSES = {'forward': 'Forward pass', 'step': 'Training step'}
EPILOG = 'variants:\n' + '\n'.join(f'  {name}: {title}' for name, title in VARIANTS.items())
OPTIONS = {
    'sizes': dict(nargs='+', type=int, default=[640, 1024], help='sides in pixels'),
    'variants': dict(
        nargs='+',
        choices=[name for name in VARIANTS if name != 'compiled'],
        default=['ours', 'checkpointed', 'explicit', 'huggingface', 'timm'],
        help='what to compare; ours is always there (default: all but folded)',
    ),
    'optimizer': dict(action='store_true', help='let a step end with AdamW'),
    'keep-freed-memory': dict(
        action='store_true',
        help='let the allocator reuse freed memory, as our training on a CPU does '
        "(default: glibc's way, which hands large blocks back to the system)",
    ),
    **harness.STEP_OPTIONS,
    'repeats': 5,
    'warmup': 1,
    'no-memory': False,
    'tiny': False,
}


def check(args: argparse.Namespace) -> None:
    """Choose the batch, 1 on a CPU and 8 on a GPU, and check the sizes."""
    args.batch = args.batch or (1 if args.device == 'cpu' else 8)
    for side in args.sizes:
        if side < 16 or side % 16:
            raise UserError(f'--sizes {side}: give multiples of the 16 px of a patch')


def mean_square(model: Any, images: Tensor) -> Tensor:
    """Return a loss on the map that is simple enough to cost nothing."""
    return model(images)[0].float().square().mean()


class BackboneStep(TrainingStep):
    """One variant on its device, called with random images."""

    def __init__(self, variant: str, size: VitDetSize, args: argparse.Namespace) -> None:
        model = build_backbone(variant, size, common_weights(size)).to(args.device).train()
        # A compiled model is compiled for its images, which a GPU's counter of memory forgives.
        self.smallest = args.batch if variant == 'compiled' else 1
        if variant == 'compiled':
            model.forward = torch.compile(model.forward)  # type: ignore[method-assign]
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(args.batch, 3, size.image, size.image, generator=generator)
        self.model, self.images = model, images.to(args.device)
        super().__init__(
            Loss(model, mean_square),
            (self.images,),
            args.device,
            args.amp,
            fused=args.optimizer,
            optimize=args.optimizer,
        )
        self.passes = {'forward': self.forward, 'step': self}

    def load_libraries(self) -> None:
        """Run a small image forwards and backwards, so that nothing is loaded later."""
        side = 64 if self.smallest == 1 else self.images.shape[-1]
        with harness.autocast(self.device, self.amp):
            mean_square(self.model, self.images[: self.smallest, :, :side, :side]).backward()
        self.model.zero_grad(set_to_none=True)

    @torch.no_grad()
    def forward(self) -> Tensor:
        """Return the map of the images, without gradients."""
        with harness.autocast(self.device, self.amp):
            return self.model(self.images)[0]

    def outputs(self) -> dict[str, Tensor]:
        """Return the map and the gradient of the images, in full precision."""
        known = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision('highest')
        images = self.images.clone().requires_grad_()
        (out,) = self.model(images)
        # Squares alone would leave the gradient of a constant nearly zero.
        weights = torch.linspace(-1, 1, out.numel(), device=out.device).reshape(out.shape)
        (gradient,) = torch.autograd.grad((out * weights).sum(), [images])
        torch.set_float32_matmul_precision(known)
        return {'output_error': out.detach(), 'gradient_error': gradient}


def count_arithmetic(size: VitDetSize, batch: int) -> dict[str, int]:
    """Count a pass's least arithmetic: products, with attention written out; computes nothing."""
    model = our_backbone(size, impl='explicit').to('meta')
    images = torch.zeros(batch, 3, size.image, size.image, device='meta')
    with torch.no_grad():
        forward = count_flops(lambda: model(images))
    step = count_flops(lambda: mean_square(model, images).backward())
    return {'forward': forward, 'step': step}


def time_variants(
    size: VitDetSize, names: Sequence[str], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Time variants in turns, the first of which the others' numbers are compared with."""
    flops = count_arithmetic(size, args.batch)
    steps = {name: BackboneStep(name, size, args) for name in names}
    first: dict[str, Tensor] = {}
    rows = []
    for name, step in steps.items():
        outputs = step.outputs()
        first = first or outputs
        errors = {
            key: ((mine - first[key]).abs().max() / first[key].abs().max()).item()
            for key, mine in outputs.items()
        }
        rows.append({'variant': name, **asdict(size), 'batch': args.batch, **errors})
    for what in PASSES:
        calls = {name: step.passes[what] for name, step in steps.items()}
        counted = dict.fromkeys(names, flops[what])
        turns = (args.repeats, args.warmup, args.device, args.amp)
        found = harness.compare(calls, *turns, counted)
        rows = [row | {what: found[row['variant']]} for row in rows]
    return rows


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> Any:
    """Time all variants at a size, or measure the memory of one."""
    if args.keep_freed_memory and not keep_freed_memory():
        raise UserError('--keep-freed-memory works with glibc on Linux only: leave it out')
    size = VitDetSize(int(task['group']))
    if args.tiny:
        narrow = dict(embed_dim=24, depth=2, num_heads=3, window=3, global_blocks=(1,))
        size = VitDetSize(size.image, **narrow)
    if 'memory' not in task:
        return time_variants(size, task['variants'], args)
    step = BackboneStep(task['memory'], size, args)
    step.load_libraries()
    return harness.measure_memory(step.passes, args.device)


def add_memory(args: argparse.Namespace, side: str, rows: list[dict[str, Any]]) -> None:
    """Measure each variant's memory, and how much of it ours takes."""
    for row in rows:
        if row['variant'] == 'compiled' and args.device == 'cpu':
            continue  # the compiler's own memory cannot be told from the model's
        taken = harness.run_worker(args, group=side, memory=row['variant'])
        for what in PASSES:
            row[what] |= taken[what]
            for key in ('grown_mb', 'peak_mb'):
                if taken[what][key] > 0:  # a tiny model may fit into what was there
                    row[what][f'ours_of_{key}'] = rows[0][what][key] / taken[what][key]


COLUMNS: dict[str, harness.Column] = {
    'variant': lambda row: VARIANTS[row['variant']],
    's (IQR)': harness.spread(),
    'fastest s': '{fastest:.3f}',
    'we are faster by': '{ratio:.2f}x',
    'of the matmul rate': '{share:.0%}',
    'grown MiB': '{grown_mb:.0f}',
    'ours of grown': '{ours_of_grown_mb:.2f}x',
    'peak MiB': '{peak_mb:.0f}',
    'ours of peak': '{ours_of_peak_mb:.2f}x',
    'output off by': '{output_error:.0e}',
    'gradient off by': '{gradient_error:.0e}',
}
NOTE = (
    'All have the same weights; errors are relative to the largest value. The least arithmetic '
    'is that of products and convolutions with attention written out once; its share is of the '
    'rate of a large matrix product in the same run. "Grown" is the peak without what '
    'libraries, weights and images take.'
)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every size."""
    names = list(dict.fromkeys(['ours', *(['compiled'] if args.compile else []), *args.variants]))
    results, tables = [], []
    sizes = {str(side): f'{side} px' for side in args.sizes}
    for side, rows in harness.run_groups(args, sizes, variants=names):
        if not args.no_memory:
            add_memory(args, side, rows)
        for what, title in PASSES.items():
            least = f'batch {args.batch}, at least {rows[0][what]["gflop"]:.1f} GFLOP'
            cells = [row | row[what] for row in rows]
            tables.append(harness.table(f'{title}, {side} px ({least})', COLUMNS, cells))
        results += rows
    return harness.Report(results, '\n'.join([*tables, NOTE]))
