"""Compare our ViTDet backbone with Hugging Face's and timm's: time, memory, numbers.

All have the same size and the same weights. They take turns in one process, so that whatever else
the machine does hits all of them; each peak of memory is measured in a process of its own. The
tables also say how far the outputs and gradients are from ours, and what share of the rate of a
large matrix product is reached.

Example:
    python tools/benchmark/dense_step.py --threads 2 --json dense_step.json
    python tools/benchmark/dense_step.py --device cuda --amp bf16 --batch 8 --compile \
        --variants ours checkpointed folded explicit huggingface timm
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import lightvit_dense
from lightvit_dense.analysis.dense_models import VARIANTS, DenseSize
from lightvit_dense.analysis.dense_step import (
    DenseSettings,
    measure_memory,
    summarise,
    time_variants,
)
from lightvit_dense.analysis.dense_table import dense_markdown
from lightvit_dense.analysis.training_step import DTYPES
from lightvit_dense.compat.allocator import keep_freed_memory
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils import environment as measure


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        epilog='variants: ' + '; '.join(f'{name}: {title}' for name, title in VARIANTS.items()),
    )
    parser.add_argument(
        '--sizes', nargs='+', type=int, default=[640, 1024], help='sides in pixels (640 1024)'
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=[name for name in VARIANTS if name != 'compiled'],
        default=['ours', 'checkpointed', 'explicit', 'huggingface', 'timm'],
        help='what to compare; ours is always there (default: all but folded)',
    )
    parser.add_argument('--compile', action='store_true', help='add ours compiled')
    parser.add_argument('--batch', type=int, help='images a step (default: 1 on CPU, 8 on GPU)')
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: cuda, if any')
    parser.add_argument('--amp', choices=list(DTYPES), default='none', help='mixed precision')
    parser.add_argument('--optimizer', action='store_true', help='let a step end with AdamW')
    parser.add_argument(
        '--keep-freed-memory',
        action='store_true',
        help='let the allocator reuse freed memory, as our training on a CPU does '
        "(default: glibc's way, which hands large blocks back to the system)",
    )
    parser.add_argument('--threads', type=int, help='CPU threads (default: as torch chooses)')
    parser.add_argument('--repeats', type=int, default=5, help='timed rounds (default: 5)')
    parser.add_argument('--warmup', type=int, default=1, help='rounds before (default: 1)')
    parser.add_argument('--no-memory', action='store_true', help='leave out the peak memory')
    parser.add_argument('--tiny', action='store_true', help='2 narrow blocks, to try the tool')
    parser.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
    parser.add_argument('--markdown', metavar='FILE', help='also write the tables to FILE')
    parser.add_argument('--worker', nargs=2, metavar=('WHAT', 'FILE'), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: this machine has no GPU that torch can use')
    if args.amp != 'none' and args.device == 'cpu':
        parser.error('--amp needs a GPU; add --device cuda on a machine that has one')
    args.batch = args.batch if args.batch is not None else {'cpu': 1}.get(args.device, 8)
    for name in ('batch', 'repeats', 'threads'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1, got {getattr(args, name)}')
    if args.warmup < 0:
        parser.error(f'--warmup must be at least 0, got {args.warmup}')
    for side in args.sizes:
        if side < 16 or side % 16:
            parser.error(f'--sizes {side}: give multiples of the 16 px of a patch')
    return args


def make_size(side: int, tiny: bool) -> DenseSize:
    """Return ViT-Tiny's backbone, or a narrow one, for images of a side."""
    if tiny:
        return DenseSize(side, embed_dim=24, depth=2, num_heads=3, window=3, global_blocks=(1,))
    return DenseSize(side)


def variants_of(args: argparse.Namespace) -> list[str]:
    """Return the variants to compare, ours first."""
    named = ['ours', *(['compiled'] if args.compile else []), *args.variants]
    return list(dict.fromkeys(named))


def settings_of(args: argparse.Namespace) -> DenseSettings:
    """Return how to measure."""
    return DenseSettings(
        **{name: getattr(args, name) for name in DenseSettings.__dataclass_fields__}
    )


def work(args: argparse.Namespace) -> Any:
    """Measure in this process: 'time', or the name of a variant for its memory."""
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.keep_freed_memory and not keep_freed_memory():
        raise UserError('--keep-freed-memory works with glibc on Linux only: leave it out')
    size, settings = make_size(args.sizes[0], args.tiny), settings_of(args)
    what = args.worker[0]
    if what != 'time':
        return measure_memory(what, size, settings)

    def tell(line: str) -> None:
        print(f'  {line}', file=sys.stderr, flush=True)

    return time_variants(size, variants_of(args), settings, tell)


def run_worker(what: str, side: int, argv: Sequence[str], threads: int | None) -> Any:
    """Measure in a fresh process."""
    environment = dict(os.environ)
    if threads:
        environment['OMP_NUM_THREADS'] = environment['MKL_NUM_THREADS'] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        command = [sys.executable, __file__, *argv, '--sizes', str(side)]
        command += ['--worker', what, str(out)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False)
        if done.returncode == 2:  # the worker has said what the user can put right
            raise UserError(f'{side} px, {what}: see the message above')
        if done.returncode:
            raise SystemExit(f'{side} px, {what}: failed with exit status {done.returncode}')
        return json.loads(out.read_text(encoding='utf-8'))


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Return what is measured on."""
    if args.threads:
        torch.set_num_threads(args.threads)
    return {
        **measure.hardware(),
        'device': args.device,
        'precision': {'none': 'fp32'}.get(args.amp, args.amp),
        'keep_freed_memory': args.keep_freed_memory,
        'load_at_start': round(os.getloadavg()[0], 2),
        'torch': str(torch.__version__),
        'lightvit_dense': lightvit_dense.__version__,
    }


def in_words(machine: dict[str, Any]) -> str:
    """Return what was measured on, in words."""
    if machine['device'] == 'cuda':
        place = machine['gpu']
    else:
        place = f'{machine["cpu"]}, {machine["torch_threads"]} threads'
    words = f'{place}, {machine["precision"]}, torch {machine["torch"]}'
    if machine['keep_freed_memory']:
        words += ', freed memory kept'
    return f'{words}; load of the machine before: {machine["load_at_start"]}'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = parse_args(words)
    if args.compile and args.device == 'cpu' and measure.cpp_compiler() is None:
        raise UserError('--compile needs a C++ compiler (g++ or clang++) on a CPU: install one')
    if args.worker:
        Path(args.worker[1]).write_text(json.dumps(work(args)), encoding='utf-8')
        return 0
    machine = describe(args)
    if args.device == 'cpu' and machine['load_at_start'] > 0.5 * machine['cores']:
        load = machine['load_at_start']
        print(f'warning: load {load}: timings will be off', file=sys.stderr)
    rows: list[dict[str, Any]] = []
    for number, side in enumerate(args.sizes, 1):
        print(f'[{number}/{len(args.sizes)}] {side} px', file=sys.stderr, flush=True)
        timed = run_worker('time', side, words, args.threads)
        memory: dict[str, dict[str, dict[str, float]]] = {}
        for name in [] if args.no_memory else variants_of(args):
            if name == 'compiled' and args.device == 'cpu':
                continue  # the compiler's own memory cannot be told from the model's
            memory[name] = run_worker(name, side, words, args.threads)
        rows += summarise(make_size(side, args.tiny), timed, memory, settings_of(args))
    text = dense_markdown(rows, in_words(machine))
    print(text)
    if args.markdown:
        Path(args.markdown).write_text(text, encoding='utf-8')
    if args.json:
        found = {'machine': machine, 'settings': asdict(settings_of(args)), 'results': rows}
        Path(args.json).write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
