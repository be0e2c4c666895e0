"""Write a tracker's checkpoint with OSTrack's names, or one of OSTrack's with ours.

Example:
    python -m tracking.tools.convert_tracker work_dirs/ostrack/epoch_300.pth ostrack.pth.tar
"""

import argparse
import sys
from pathlib import Path

import torch

from lightvit_dense.checkpoints.containers import open_checkpoint
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.io import atomic_path

from ..models.ostrack_names import from_ostrack, is_ostrack, ostrack_settings, to_ostrack


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='the file to read; its names tell whose it is')
    parser.add_argument('out', help='the file to write')
    parser.add_argument('--overwrite', action='store_true', help='replace the file if it exists')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    out = Path(args.out)
    if out.exists() and not args.overwrite:
        raise UserError(f'{out} exists; give another name, or --overwrite')
    if not out.parent.is_dir():
        raise UserError(f'the folder {out.parent} does not exist')
    state = open_checkpoint(args.checkpoint).state
    if is_ostrack(state):
        container, whose, converted = 'state_dict', 'our', from_ostrack(state)
    elif 'backbone.pos_embed_z' in state:
        try:
            container, whose, converted = 'net', "OSTrack's", to_ostrack(state)
        except ValueError as error:
            raise UserError(f'{args.checkpoint}: {error}') from error
    else:
        some = ', '.join(list(state)[:3])
        raise UserError(
            f'{args.checkpoint}: is no one-stream tracker, neither ours nor of OSTrack; its names '
            f'begin with {some}'
        )
    content = {container: {name: tensor.clone() for name, tensor in converted.items()}}
    with atomic_path(out) as draft:
        torch.save(content, draft)
    print(f"{out}: {len(converted)} tensors with {whose} names, under '{container}'")
    if container == 'net':
        print(f'It loads where the configuration of OSTrack says {ostrack_settings(converted)}.')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
