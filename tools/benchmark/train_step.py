"""Measure training steps at full recipe size on this machine.

Each case runs in a process of its own: images per second (median step, warm-up left out), peak
memory, counted arithmetic and its share of what a large matrix product reaches on the same machine,
and for D-MAE what the teacher costs.

Example:
    python tools/benchmark/train_step.py --batch mae=32 dmae=32 maskrcnn=2 --json step.json
    python tools/benchmark/train_step.py --device cuda --amp bf16 --compile
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import lightvit_dense
from lightvit_dense.analysis import synthetic
from lightvit_dense.analysis.training_step import DTYPES, TrainingStep, build_for_speed
from lightvit_dense.utils import environment as measure

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    'mae': ('MAE-Tiny 224', 'configs/pretrain/mae_vit-tiny.py', 224),
    'dmae': ('D-MAE-Tiny 224, ViT-Base teacher', 'configs/pretrain/dmae_vit-tiny.py', 224),
    'maskrcnn': ('Mask R-CNN ViT-Tiny 640', 'configs/coco/maskrcnn_dmae_tiny.py', 640),
}
DEFAULT_BATCH = {
    'cpu': {'mae': 32, 'dmae': 32, 'maskrcnn': 2},
    'cuda': {'mae': 256, 'dmae': 256, 'maskrcnn': 8},
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument(
        '--batch',
        nargs='+',
        default=[],
        metavar='N|CASE=N',
        help='images a step, of all cases or of one (default: 32 32 2 on CPU, 256 256 8 on GPU)',
    )
    parser.add_argument('--amp', choices=list(DTYPES), default='none', help='mixed precision')
    parser.add_argument('--compile', action='store_true', help='torch.compile the forward pass')
    parser.add_argument('--device', help='cpu or cuda (default: cuda where there is one)')
    parser.add_argument('--repeats', type=int, default=7, help='timed steps (default: 7)')
    parser.add_argument('--warmup', type=int, default=2, help='steps before (default: 2)')
    parser.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
    parser.add_argument('--worker', metavar='FILE', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if args.amp != 'none' and torch.device(args.device).type == 'cpu':
        parser.error('--amp needs a GPU; add --device cuda on a machine that has one')
    args.batches = dict(DEFAULT_BATCH[torch.device(args.device).type])
    for word in args.batch:
        case, _, count = word.rpartition('=')
        if not count.isdigit() or int(count) < 1 or (case and case not in CASES):
            parser.error(f'--batch {word}: expected N or CASE=N with CASE in {", ".join(CASES)}')
        args.batches.update({case: int(count)} if case else dict.fromkeys(CASES, int(count)))
    return args


class _Losses(torch.nn.Module):
    """Preprocessing and losses of a model as one module.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, data: dict[str, Any]) -> torch.Tensor:
        """Return the sum of the losses for a collated batch."""
        losses = self.inner(**self.inner.data_preprocessor(data, True), mode='loss')
        return self.inner.parse_losses(losses)[0]


class Step(TrainingStep):
    """A training step of one case: preprocessing, losses, backward pass and AdamW.

    Args:
        case: Key of ``CASES``.
        args: Parsed command line.
    """

    def __init__(self, case: str, args: argparse.Namespace) -> None:
        _, path, self.size = CASES[case]
        inner, device = build_for_speed(ROOT / path), torch.device(args.device)
        self.batch = args.batches[case]
        if case == 'maskrcnn':
            classes = inner.roi_head.bbox_head.num_classes
            data = synthetic.detection_batch(self.batch, self.size, classes)
        else:
            data = synthetic.pretraining_batch(self.batch, self.size)
        super().__init__(_Losses(inner), (data,), device, args.amp, fused=device.type == 'cuda')

    def teacher(self) -> Callable[[], object]:
        """Return the teacher's part of a D-MAE step alone, on inputs that are ready."""
        model = self.model.inner
        inputs = model.data_preprocessor(self.data[0], True)['inputs']
        ids_keep = model._mask(inputs, None).ids_keep

        def run() -> None:
            with self.autocast():
                model.distiller.teacher_view(inputs, ids_keep)

        return run


def measure_case(case: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one case in this process.

    Args:
        case: Key of ``CASES``.
        args: Parsed command line.
    """
    step = Step(case, args)
    before = measure.peak_memory_mb(step.device)
    if args.compile:
        step.model.forward = torch.compile(step.model.forward)
    measure.reset_peak_memory(step.device)
    timing = measure.time_calls(step, args.repeats, args.warmup, step.device)
    result: dict[str, Any] = {
        'case': case,
        'batch': step.batch,
        'image_size': step.size,
        'parameters': sum(p.numel() for p in step.model.parameters() if p.requires_grad),
        'step_s': timing.median,
        'step_spread_s': timing.spread,
        'images_per_s': step.batch / timing.median,
        'peak_memory_mb': measure.peak_memory_mb(step.device),
        'memory_before_mb': before,
    }
    if args.compile:
        del step.model.forward  # the compiled copy; arithmetic is counted on the plain one
    flops = measure.count_flops(lambda: step.losses().backward())
    floor = measure.matmul_rate(step.device, DTYPES[args.amp])
    result |= {
        'gflop_per_image': flops / step.batch / 1e9,
        'gflop_per_s': flops / timing.median / 1e9,
        'matmul_gflop_per_s': floor,
    }
    if case == 'dmae':
        result |= _teacher_cost(step, timing.median, args)
    return result


def _teacher_cost(step: Step, whole: float, args: argparse.Namespace) -> dict[str, float]:
    """Time the teacher alone, and the step without any distillation."""
    teacher = measure.time_calls(step.teacher(), args.repeats, args.warmup, step.device).median
    step.model.inner.distiller = None
    if args.compile:
        torch.compiler.reset()
        step.model.forward = torch.compile(step.model.forward)
    plain = measure.time_calls(step, args.repeats, args.warmup, step.device).median
    return {
        'teacher_s': teacher,
        'teacher_share': teacher / whole,
        'step_without_distillation_s': plain,
        'distillation_share': 1 - plain / whole,
    }


def run_worker(case: str, argv: list[str]) -> dict[str, Any]:
    """Measure one case in a fresh process, so that its peak memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        command = [sys.executable, __file__, *argv, '--cases', case, '--worker', str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = '\n'.join(done.stderr.splitlines()[-15:])
            raise SystemExit(f'case {case} failed (exit status {done.returncode}):\n{last}')
        return json.loads(out.read_text(encoding='utf-8'))


def print_table(results: list[dict[str, Any]], machine: dict[str, Any]) -> None:
    """Print one table of all cases."""
    from rich.console import Console
    from rich.table import Table

    where = machine['gpu'] if machine['device'] != 'cpu' else machine['cpu']
    title = f'Training step on {where}'
    if machine['device'] == 'cpu':
        title += f', {machine["cores"]} cores, {machine["torch_threads"]} torch threads'
    title += f'; precision {machine["precision"]}' + (', compiled' if machine['compile'] else '')
    table = Table(title=title, title_justify='left')
    header = 'case|batch|images/s|s/step (IQR)|peak MiB|GFLOP/image|GFLOP/s (of matmul)'
    for i, name in enumerate(header.split('|')):
        table.add_column(name, justify='left' if i == 0 else 'right')
    for r in results:
        share = r['gflop_per_s'] / r['matmul_gflop_per_s']
        table.add_row(
            CASES[r['case']][0],
            str(r['batch']),
            f'{r["images_per_s"]:.3g}',
            f'{r["step_s"]:.3f} ({r["step_spread_s"]:.3f})',
            f'{r["peak_memory_mb"]:.0f}',
            f'{r["gflop_per_image"]:.2f}',
            f'{r["gflop_per_s"]:.1f} ({share:.0%})',
        )
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    for r in results:
        if 'teacher_s' in r:
            console.print(
                f'The teacher takes {r["teacher_share"]:.0%} of the D-MAE step '
                f'({r["teacher_s"]:.3f} s alone); without distillation the step takes '
                f'{r["step_without_distillation_s"]:.3f} s, {r["distillation_share"]:.0%} less.'
            )


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    words = sys.argv[1:] if argv is None else argv
    args = parse_args(words)
    if args.worker:
        result = measure_case(args.cases[0], args)
        Path(args.worker).write_text(json.dumps(result), encoding='utf-8')
        return
    machine = {
        **measure.hardware(),
        'device': torch.device(args.device).type,
        'precision': {'none': 'fp32'}.get(args.amp, args.amp),
        'compile': args.compile,
        'torch': str(torch.__version__),
        'lightvit_dense': lightvit_dense.__version__,
    }
    results = []
    for number, case in enumerate(args.cases, 1):
        print(f'[{number}/{len(args.cases)}] {CASES[case][0]} ...', file=sys.stderr, flush=True)
        results.append(run_worker(case, words))
    print_table(results, machine)
    if args.json:
        text = json.dumps({'machine': machine, 'results': results}, indent=2)
        Path(args.json).write_text(text + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
