"""Measure the frames a second of a tracker on the CPU: OSTrack's way, torch, ONNX Runtime.

A frame is all that `Tracker.update` does: crop, network, choice of the box. The ways take turns on
one sequence, with and without candidate elimination; each number of threads has a process of its
own. Without a config the trackers have random weights, which is all that speed needs.

Example:
    python tools/benchmark/tracking_fps.py --threads 1 2 --json fps.json --markdown fps.md
    python tools/benchmark/tracking_fps.py --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --video VIDEO.mp4 --box 100 80 60 90
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lightvit_dense
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils import environment as measure
from tracking.analysis.fps import WAYS, FpsSettings, time_ways
from tracking.analysis.fps_table import fps_markdown
from tracking.analysis.speed_models import BACKBONES, moving_frames, speed_tracker, video_frames


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument(
        '--trackers',
        nargs='+',
        choices=list(BACKBONES),
        default=list(BACKBONES),
        help='with random weights (default: all)',
    )
    parser.add_argument('--config', help="time this config's tracker instead")
    parser.add_argument('--checkpoint', help='its weights (default: as the config initialises)')
    parser.add_argument(
        '--ways',
        nargs='+',
        choices=WAYS,
        default=['ostrack', 'plain', 'torch', 'onnx', 'onnx-int8'],
        help='what to compare, the first with all others; OSTrack has none for Hiera, whose first '
        'is then plain (default: all but compiled, which takes minutes to compile)',
    )
    parser.add_argument('--threads', nargs='+', type=int, default=[1, 2], help='default: 1 2')
    parser.add_argument(
        '--elimination', choices=('both', 'on', 'off'), default='both', help='default: both'
    )
    parser.add_argument('--frames', type=int, default=40, help='of the sequence (default: 40)')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each way (default: 5)')
    parser.add_argument('--video', help='file to track in (default: generated, 1280x720)')
    parser.add_argument(
        '--box', nargs=4, type=float, metavar=('X', 'Y', 'W', 'H'), help='in its first frame'
    )
    parser.add_argument('--json', metavar='FILE', help='also write the numbers to FILE')
    parser.add_argument('--markdown', metavar='FILE', help='also write the tables to FILE')
    parser.add_argument('--tiny', action='store_true', help='narrow networks, to try the tool')
    parser.add_argument('--worker', metavar='FILE', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    for name in ('frames', 'rounds'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1, got {getattr(args, name)}')
    if min(args.threads) < 1:
        parser.error(f'--threads must be at least 1, got {min(args.threads)}')
    if (args.video is None) != (args.box is None):
        parser.error('--video and --box go together: the box is that of its first frame')
    if args.checkpoint and not args.config:
        parser.error('--checkpoint needs --config')
    return args


def make_tracker(args: argparse.Namespace) -> Any:
    """Return the tracker to time."""
    if args.config:
        from lightvit_dense.apis import build_model

        return build_model(args.config, args.checkpoint, 'cpu')
    name = args.trackers[0]
    if not args.tiny:
        return speed_tracker(name)
    if name == 'hiera-tiny':
        arch = dict(embed_dim=8, stages=(1, 1, 4, 1), num_heads=1)
        return speed_tracker(name, arch=arch, channels=16, template_size=64, search_size=128)
    arch = dict(embed_dim=24, depth=4, num_heads=3)
    return speed_tracker(
        name, arch=arch, patch_size=8, channels=16, template_size=64, search_size=128
    )


def ways_of(args: argparse.Namespace, model: Any) -> tuple[str, ...]:
    """Return what can be timed of a tracker, the one to compare with first."""
    named = list(dict.fromkeys(args.ways))
    if type(model.backbone).__name__ != 'JointVisionTransformer' and 'ostrack' in named:
        named = ['plain', *(way for way in named if way not in ('ostrack', 'plain'))]
    return tuple(named)


def work(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one tracker with one number of threads, in this process."""
    torch.set_num_threads(args.threads[0])
    if args.video:
        frames, box = video_frames(args.video, args.frames), np.array(args.box)
    else:
        frames, box = moving_frames(args.frames)
    model = make_tracker(args)
    settings = FpsSettings(
        ways=ways_of(args, model),
        eliminations={'both': (True, False), 'on': (True,), 'off': (False,)}[args.elimination],
        threads=args.threads[0],
        rounds=args.rounds,
    )

    def tell(line: str) -> None:
        print(f'  {line}', file=sys.stderr, flush=True)

    return time_ways(model, frames, box, settings, tell)


def run_worker(argv: Sequence[str], tracker: str | None, threads: int) -> dict[str, Any]:
    """Measure in a fresh process."""
    environment = dict(os.environ)
    environment['OMP_NUM_THREADS'] = environment['MKL_NUM_THREADS'] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'result.json'
        command = [sys.executable, __file__, *argv, '--threads', str(threads)]
        command += [*(['--trackers', tracker] if tracker else []), '--worker', str(out)]
        done = subprocess.run(command, env=environment, check=False)
        if done.returncode == 2:  # the worker has said what the user can put right
            raise UserError(f'{tracker}, {threads} threads: see the message above')
        if done.returncode:
            raise SystemExit(f'{tracker}, {threads} threads: failed with {done.returncode}')
        return json.loads(out.read_text(encoding='utf-8'))


def describe() -> dict[str, Any]:
    """Return what is measured on."""
    return {
        **measure.environment(),
        'load_at_start': round(os.getloadavg()[0], 2),
        'lightvit_dense': lightvit_dense.__version__,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = parse_args(words)
    if args.worker:
        Path(args.worker).write_text(json.dumps(work(args)), encoding='utf-8')
        return 0
    machine = describe()
    load = machine['load_at_start']
    if load > 0.5 * machine['cores']:
        print(f'warning: load {load}: timings will be off', file=sys.stderr)
    results = []
    for tracker in [Path(args.config).stem] if args.config else args.trackers:
        for threads in args.threads:
            print(f'{tracker}, {threads} thread(s)', file=sys.stderr, flush=True)
            found = run_worker(words, None if args.config else tracker, threads)
            results.append(dict(tracker=tracker, threads=threads, frames=args.frames, **found))
    where = f'{machine["cpu"]}, {machine["cores"]} cores, fp32, torch {torch.__version__}; '
    text = fps_markdown(results, f'{where}load of the machine before: {load}')
    print(text)
    if args.markdown:
        Path(args.markdown).write_text(text, encoding='utf-8')
    if args.json:
        found = {'machine': machine, 'results': results}
        Path(args.json).write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
