"""Compare our pre-training steps with Hugging Face's and with the papers' way of writing them.

The variants of a method take turns in one process, so that whatever else the machine does hits all
of them; peak memory is measured in a process of its own each. The floor is the arithmetic of our
variant at the rate of a large matrix product on the same machine.

Example:
    python tools/benchmark/pretrain_step.py --batch 32 --json step.json
    python tools/benchmark/pretrain_step.py --device cuda --amp bf16 --compile --batch 1024
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lightvit_dense
from lightvit_dense.analysis.authors_way import AuthorsWay
from lightvit_dense.analysis.training_step import (
    DTYPES,
    SumOfLosses,
    TrainingStep,
    build_for_speed,
)
from lightvit_dense.utils import environment as measure

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Method:
    """A pre-training method.

    Attributes:
        title: How the table calls it.
        config: Config of our variant, below ``configs/pretrain``.
        rivals: Other variants: keys of ``VARIANTS``.
    """

    title: str
    config: str
    rivals: tuple[str, ...] = ()


METHODS = {
    'mae': Method('MAE, ViT-Tiny', 'mae_vit-tiny.py', ('authors', 'huggingface')),
    'dmae': Method('D-MAE, ViT-Tiny, ViT-Base teacher', 'dmae_vit-tiny.py', ('authors',)),
    'd2mae': Method('D²-MAE, ViT-Tiny, ViT-Base teacher', 'd2mae_vit-tiny.py', ('authors',)),
    'hiera': Method('MAE, Hiera-Tiny', 'mae_hiera-tiny.py', ('meta', 'huggingface')),
}
VARIANTS = {
    'ours': 'ours',
    'compiled': 'ours, compiled',
    'authors': "ours, written the authors' way",
    'meta': "Meta's hiera-transformer",
    'huggingface': 'Hugging Face',
}


class _Loss(nn.Module):
    """The loss of somebody else's model as a module's output.

    Args:
        model: The model.
        loss_of: Takes the loss out of what a call returns.
    """

    def __init__(self, model: nn.Module, loss_of: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss for normalised images [B, 3, 224, 224]."""
        return self.loss_of(self.model(images))


def hugging_face(method: str) -> nn.Module:
    """Return Hugging Face's model of a method at the size of ours."""
    if method == 'mae':
        from transformers import ViTMAEConfig, ViTMAEForPreTraining

        config = ViTMAEConfig(
            hidden_size=192,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=768,
            decoder_hidden_size=96,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=3,
            decoder_intermediate_size=384,
            norm_pix_loss=True,
        )
        return _Loss(ViTMAEForPreTraining(config), lambda out: out.loss)
    from transformers import HieraConfig, HieraForPreTraining

    config = HieraConfig(
        embed_dim=46,
        depths=[1, 2, 7, 2],
        num_heads=[1, 2, 4, 8],
        num_query_pool=2,
        decoder_hidden_size=96,
        decoder_depth=1,
        decoder_num_heads=3,
        mask_ratio=0.4,
        normalize_pixel_loss=True,
    )
    return _Loss(HieraForPreTraining(config), lambda out: out.loss)


def meta_hiera() -> nn.Module:
    """Return Meta's Hiera-MAE at the size of ours."""
    from hiera.hiera_mae import MaskedAutoencoderHiera

    model = MaskedAutoencoderHiera(
        embed_dim=46,
        num_heads=1,
        stages=(1, 2, 7, 2),
        q_pool=2,
        decoder_embed_dim=96,
        decoder_depth=1,
        decoder_num_heads=3,
    )
    share = 0.4  # of mask units hidden
    model.forward = lambda x, inner=model.forward: inner(x, mask_ratio=share)  # type: ignore[method-assign]
    return _Loss(model, lambda out: out[0])


def make_step(method: str, variant: str, args: argparse.Namespace) -> TrainingStep:
    """Build one variant's training step.

    Args:
        method: Key of ``METHODS``.
        variant: Key of ``VARIANTS``.
        args: Parsed command line.
    """
    torch.manual_seed(0)
    if variant == 'huggingface':
        losses = hugging_face(method)
    elif variant == 'meta':
        losses = meta_hiera()
    else:
        model = build_for_speed(ROOT / 'configs/pretrain' / METHODS[method].config)
        losses = AuthorsWay(model) if variant == 'authors' else SumOfLosses(model)
        if variant == 'compiled':
            losses.forward = torch.compile(losses.forward)  # type: ignore[method-assign]
    device = torch.device(args.device)
    images = torch.randn(args.batch, 3, 224, 224, device=device)
    return TrainingStep(losses, (images,), device, args.amp, fused=variant != 'authors')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--methods', nargs='+', choices=list(METHODS), default=list(METHODS))
    parser.add_argument('--batch', type=int, help='images a step (default: 32 on CPU, 256 on GPU)')
    parser.add_argument('--amp', choices=list(DTYPES), default='none', help='mixed precision')
    parser.add_argument('--compile', action='store_true', help='add ours compiled')
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--repeats', type=int, default=7, help='rounds (default: 7)')
    parser.add_argument('--warmup', type=int, default=2, help='steps before (default: 2)')
    parser.add_argument('--no-memory', action='store_true', help='leave out the peak memory')
    parser.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
    parser.add_argument('--worker', nargs=2, metavar=('WHAT', 'FILE'), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    on_cpu = torch.device(args.device).type == 'cpu'
    if args.amp != 'none' and on_cpu:
        parser.error('--amp needs a GPU; add --device cuda on a machine that has one')
    args.batch = args.batch or (32 if on_cpu else 256)
    if args.batch < 1 or args.repeats < 1:
        parser.error('--batch and --repeats must be at least 1')
    return args


def variants_of(method: str, args: argparse.Namespace) -> list[str]:
    """Return the variants to compare, ours first."""
    return ['ours', *(['compiled'] if args.compile else []), *METHODS[method].rivals]


def time_variants(method: str, args: argparse.Namespace) -> dict[str, Any]:
    """Time all variants of a method, taking turns, and count their arithmetic."""
    steps = {name: make_step(method, name, args) for name in variants_of(method, args)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for name, step in steps.items():
        measure.time_calls(step, 1, args.warmup, step.device)
        print(f'  {method}: {name} is warm', file=sys.stderr, flush=True)
    for _ in range(args.repeats):
        for name, step in steps.items():
            seconds[name] += measure.time_calls(step, 1, 0, step.device).seconds
    flops = {}
    for name, step in steps.items():
        if name != 'compiled':
            flops[name] = measure.count_flops(lambda step=step: step.losses().backward())
    flops |= {'compiled': flops['ours']} if args.compile else {}
    rate = measure.matmul_rate(torch.device(args.device), DTYPES[args.amp])
    return {'seconds': seconds, 'flops': flops, 'matmul_gflop_per_s': rate}


def measure_memory(method: str, variant: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the peak memory of one variant alone in this process."""
    step = make_step(method, variant, args)
    before = measure.peak_memory_mb(step.device)
    for _ in range(2):
        step()
    return {'peak_memory_mb': measure.peak_memory_mb(step.device), 'memory_before_mb': before}


def run_worker(what: str, method: str, argv: list[str]) -> dict[str, Any]:
    """Measure in a fresh process: 'time', or the name of a variant for its memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        command = [sys.executable, __file__, *argv, '--methods', method]
        command += ['--worker', what, str(out)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=None, check=False)
        if done.returncode:
            raise SystemExit(f'{method}, {what}: failed with exit status {done.returncode}')
        return json.loads(out.read_text(encoding='utf-8'))


def summarise(method: str, timed: dict[str, Any], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row a variant."""
    ours = timed['seconds']['ours']
    rows = []
    for name, seconds in timed['seconds'].items():
        median = statistics.median(seconds)
        ratios = [theirs / mine for theirs, mine in zip(seconds, ours, strict=True)]
        floor = timed['flops'][name] / timed['matmul_gflop_per_s'] / 1e9
        rows.append(
            {
                'method': method,
                'variant': name,
                'batch': args.batch,
                'step_s': median,
                'step_spread_s': measure.Timing(tuple(seconds)).spread,
                'images_per_s': args.batch / median,
                'times_ours': statistics.median(ratios),
                'gflop_per_image': timed['flops'][name] / args.batch / 1e9,
                'floor_s': floor,
                'flop_utilisation': floor / median,
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]], machine: dict[str, Any]) -> None:
    """Print one table of all methods."""
    from rich.console import Console
    from rich.table import Table

    where = machine['gpu'] if machine['device'] != 'cpu' else machine['cpu']
    title = f'Pre-training step on {where}, batch {rows[0]["batch"]}, {machine["precision"]}'
    if machine['device'] == 'cpu':
        title += f', {machine["torch_threads"]} threads'
    table = Table(title=title, title_justify='left')
    header = 'method|variant|images/s|s/step (IQR)|we are faster by|peak MiB|GFLOP/image'
    for i, name in enumerate(f'{header}|floor s|of the floor'.split('|')):
        table.add_column(name, justify='left' if i < 2 else 'right')
    for row in rows:
        first = row['variant'] == 'ours'
        table.add_row(
            METHODS[row['method']].title if first else '',
            VARIANTS[row['variant']],
            f'{row["images_per_s"]:.4g}',
            f'{row["step_s"]:.3f} ({row["step_spread_s"]:.3f})',
            '' if first else f'{row["times_ours"]:.2f}x',
            f'{row["peak_memory_mb"]:.0f}' if 'peak_memory_mb' in row else '',
            f'{row["gflop_per_image"]:.2f}',
            f'{row["floor_s"]:.3f}',
            f'{row["flop_utilisation"]:.0%}',
        )
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    print('The floor is the arithmetic of the variant at the rate of a large matrix product here.')


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    words = sys.argv[1:] if argv is None else argv
    args = parse_args(words)
    if args.worker:
        what, path = args.worker
        method = args.methods[0]
        timed = what == 'time'
        result = time_variants(method, args) if timed else measure_memory(method, what, args)
        Path(path).write_text(json.dumps(result), encoding='utf-8')
        return
    rows = []
    for number, method in enumerate(args.methods, 1):
        title = METHODS[method].title
        print(f'[{number}/{len(args.methods)}] {title}', file=sys.stderr, flush=True)
        found = summarise(method, run_worker('time', method, words), args)
        for row in [] if args.no_memory else found:
            row |= run_worker(row['variant'], method, words)
        rows += found
    machine = {
        **measure.hardware(),
        'device': torch.device(args.device).type,
        'precision': {'none': 'fp32'}.get(args.amp, args.amp),
        'torch': str(torch.__version__),
        'lightvit_dense': lightvit_dense.__version__,
    }
    print_table(rows, machine)
    if args.json:
        text = json.dumps({'machine': machine, 'results': rows}, indent=2)
        Path(args.json).write_text(text + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
