"""Train what a config describes.

Example:
    python tools/train.py configs/toyworld/dmae_student.py --cfg-options randomness.seed=1
"""

import argparse

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_run_options
from lightvit_dense.compat import finish_distributed
from lightvit_dense.errors import run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a model')
    add = parser.add_argument
    add('config', help='config file')
    add('--work-dir', help='logs and checkpoints (default: work_dirs/<config name>)')
    text = 'resume from CKPT, by default from the newest whole checkpoint in the work dir'
    add('--resume', nargs='?', const='auto', metavar='CKPT', help=text)
    add('--amp', action='store_true', help='mixed precision: bf16 where the GPU has it, else fp16')
    add('--auto-scale-lr', action='store_true', help='scale the learning rate by the linear rule')
    add_run_options(parser)
    return parser.parse_args(argv)


def main() -> None:
    """Run the tool."""
    args = parse_args()
    if args.preflight:
        print(apis.check_training(args.config, args.work_dir, args.resume, args.cfg_options))
        return
    apis.train(
        args.config,
        work_dir=args.work_dir,
        resume=args.resume,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        cfg_options=args.cfg_options,
        launcher=args.launcher,
    )
    finish_distributed()


if __name__ == '__main__':
    run_tool(main)
