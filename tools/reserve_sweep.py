"""Fine-tune with the first K blocks of a pre-trained network, for several K, and draw the figure.

The rest of the network starts at random. One run for each checkpoint, K and seed, by tools/train.py
or by any launcher; runs that are done are not done again, one that was cut short goes on. Ends with
results.md, .csv, .json and .png.

Example:
    python tools/reserve_sweep.py --checkpoint MAE=work_dirs/mae_vit-tiny/backbone.safetensors \
        MoCo-v3=work_dirs/mocov3_vit-tiny/backbone.safetensors \
        --launcher 'tools/dist_train.sh {config} 8 --amp'
    python tools/reserve_sweep.py configs/toyworld/small_sets/finetune.py --checkpoint MAE=FILE --jobs 2
"""

import argparse
import hashlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.suite.jobs import run_jobs
from lightvit_dense.suite.stages import Stage
from lightvit_dense.suite.sweep import (
    Plan,
    check_reserves,
    default_reserves,
    make_stage,
    options_of,
)

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/imagenet/finetune_mae_vit-tiny_100e.py'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT / CONFIG
    parser.add_argument('config', nargs='?', default=str(default), help=f'default: {CONFIG}')
    parser.add_argument(
        '--checkpoint',
        nargs='+',
        required=True,
        metavar='NAME=PATH',
        help='pre-trained networks and what to call them in the figure',
    )
    parser.add_argument(
        '--k', nargs='+', type=int, help='numbers of blocks to keep; default: about seven, 0 to all'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='default: 0')
    parser.add_argument('--no-scratch', action='store_true', help='leave out the run from scratch')
    parser.add_argument(
        '--launcher',
        metavar='COMMAND',
        help='what trains, with {config} in it; default: tools/train.py in one process',
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time; default: 1')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/reserve_<config name>')
    parser.add_argument('--metric', default='accuracy/top1', help='default: accuracy/top1')
    parser.add_argument('--list', action='store_true', help='only print the commands')
    parser.add_argument('--fresh', action='store_true', help='forget what was done')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='for every run'
    )
    args = parser.parse_args(argv)
    args.work_dir = args.work_dir or Path('work_dirs') / f'reserve_{Path(args.config).stem}'
    return args


def read_checkpoints(words: list[str]) -> dict[str, Path]:
    """Return the checkpoints by name.

    Raises:
        UserError: If a word is not NAME=PATH, a name is unfit or given twice, or a file is missing.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition('=')
        if not equals or not re.fullmatch(r'[\w.+-]+', name):
            raise UserError(
                f'--checkpoint {word}: write NAME=PATH, the name of letters, digits and .+-_'
            )
        if name in found:
            raise UserError(f'--checkpoint: {name!r} is named twice')
        if not Path(path).is_file():
            raise UserError(f'--checkpoint {word}: {path} does not exist')
        found[name] = Path(path).resolve()
    return found


def launch_words(launcher: str | None, config: str) -> list[str]:
    """Return the words that start a training.

    Raises:
        UserError: If the launcher does not say where the config goes.
    """
    if launcher is None:
        return [sys.executable, str(ROOT / 'tools/train.py'), config]
    words = shlex.split(launcher)
    if not any('{config}' in word for word in words):
        raise UserError(f'--launcher {launcher!r}: write {{config}} where the config file goes')
    return [word.replace('{config}', config) for word in words]


def try_checkpoints(cfg: Any, checkpoints: dict[str, Path]) -> int:
    """Build the backbone and load every checkpoint into it; return its depth.

    Raises:
        UserError: If one does not fit, or the backbone is not initialised from a checkpoint.
    """
    import copy

    from lightvit_dense.apis.configs import prepare_scope
    from lightvit_dense.checkpoints import load_backbone
    from lightvit_dense.registry import MODELS

    init = (cfg.model.get('backbone') or {}).get('init_cfg') or {}
    if not str(init.get('type', '')).endswith('PretrainedBackbone'):
        raise UserError(
            f"{cfg.filename}: model.backbone.init_cfg must be of type 'lightvit_dense."
            "PretrainedBackbone', so that a checkpoint and `num_pretrained_blocks` can be set"
        )
    prepare_scope(cfg)
    backbone = copy.deepcopy(cfg.model.backbone)
    backbone.pop('init_cfg')
    model = MODELS.build(backbone)
    for path in checkpoints.values():
        load_backbone(model, path, verbose=False)
    return len(model.blocks)


def lay_out(args: argparse.Namespace) -> tuple[Plan, list[Stage]]:
    """Return the plan and its runs; everything that can be checked is checked here."""
    from lightvit_dense import apis

    if args.jobs < 1:
        raise UserError(f'--jobs {args.jobs}: at least one run at a time')
    if len(set(args.seeds)) != len(args.seeds):
        raise UserError('--seeds: a seed is named twice')
    checkpoints = read_checkpoints(args.checkpoint)
    common = dict(args.cfg_options or {})
    depth = try_checkpoints(apis.load_config(args.config, common), checkpoints)
    reserves = sorted(args.k) if args.k else default_reserves(depth)
    check_reserves(reserves, depth)
    plan = Plan(checkpoints, reserves, args.seeds, not args.no_scratch)
    digests = {name: digest(path) for name, path in checkpoints.items()}
    command = launch_words(args.launcher, args.config)
    stages = []
    for point in plan.points():
        options = common | options_of(point, plan)
        config = apis.load_config(args.config, options).to_dict()
        known = digests.get(point.checkpoint, '')
        stages.append(make_stage(point, args.work_dir, command, options, config, known))
    return plan, stages


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_results(args: argparse.Namespace, plan: Plan, stages: list[Stage]) -> None:
    """Write table, numbers and figure; print the table."""
    from lightvit_dense.analysis import sweep
    from lightvit_dense.utils.environment import environment
    from lightvit_dense.visualization.curves import save_png

    found = sweep.results(plan, stages, args.metric)
    found |= {'config': args.config, 'environment': environment()}
    text, folder = sweep.markdown(found), args.work_dir
    (folder / 'results.json').write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
    (folder / 'results.md').write_text(text, encoding='utf-8')
    (folder / 'results.csv').write_text(sweep.csv_of_runs(found), encoding='utf-8')
    save_png(sweep.draw(found), folder / 'results.png', dpi=150)
    print(f'\n{text}\nResults: {folder}/results.{{md,csv,json,png}}')


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    args = parse_args(argv)
    plan, stages = lay_out(args)
    if args.list:
        for stage in stages:
            print(shlex.join(map(str, stage.command)))
        return 0
    return run_jobs(
        stages, args.work_dir, args.jobs, lambda: write_results(args, plan, stages), args.fresh
    )


if __name__ == '__main__':
    sys.exit(run_tool(main))
