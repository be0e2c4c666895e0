"""Write a model as one file that takes images and gives what is found, without torch.

The file's metadata name classes, config and checkpoint; ``lightvit_dense_runtime.load`` opens it.

Example:
    python tools/deploy/export.py configs/coco/maskrcnn_dmae_tiny.py CHECKPOINT.pth \
        --to onnx --out detector.onnx
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.apis.classes import class_names
from lightvit_dense.deploy import PRECISIONS, SUFFIXES, check_target, describe, export, make_graph
from lightvit_dense.deploy.card import write_card
from lightvit_dense.deploy.data import sample_inputs
from lightvit_dense.deploy.verify import Verification, verify
from lightvit_dense.errors import run_tool
from lightvit_dense_runtime import open_model


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Export a model for a runtime')
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add('--to', choices=list(SUFFIXES), default='onnx', help='runtime (default: onnx)')
    add('--precision', choices=PRECISIONS, default='fp32', help='of the network (default: fp32)')
    add('--out', required=True, metavar='FILE', help='.onnx, .xml (OpenVINO), .pte (ExecuTorch)')
    add('--task', choices=['features'], help='the backbone alone (default: the whole model)')
    text = "size of the network's input in pixels (default: the config's)"
    add('--size', type=int, nargs=2, metavar=('H', 'W'), help=text)
    text = 'training images, or pairs, that int8 is calibrated by (default: 64)'
    add('--calibration', type=int, default=64, metavar='N', help=text)
    text = 'compare metrics of file and checkpoint on the test data, below DATA or LIGHTVIT_DATA'
    add('--verify', nargs='?', const='', metavar='DATA', help=text)
    text = 'test images, or sequences, to verify on (default: all)'
    add('--limit', type=int, metavar='N', help=text)
    text = 'allowed drop in points (default: 0.05 for fp32, 0.1 for fp16, 0.5 for int8)'
    add('--bound', type=float, metavar='X', help=text)
    add_cfg_options(parser, 'override config values, such as model.test_cfg.mode=whole')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status: 1 if a metric drops below the bound."""
    args = parse_args(argv)
    if args.verify:
        os.environ['LIGHTVIT_DATA'] = args.verify
    check_target(args.out, args.to, args.precision)
    cfg = apis.load_config(args.config, args.cfg_options)
    loaded = apis.load(args.checkpoint, args.task, cfg, 'cpu')
    model: Any = loaded.network or loaded.backbone
    graph = make_graph(model, cfg, args.size and tuple(args.size), loaded.task)
    classes = () if loaded.task in ('features', 'tracking') else class_names(model, cfg)
    about = describe(graph, args.config, args.checkpoint, classes)
    found: list[Verification] = []

    def accept(file: Path) -> bool:
        before = found[-1].before if found else None
        found.append(verify(file, cfg, model, graph, args.limit, args.bound, before))
        return found[-1].passed

    inputs = sample_inputs(cfg, args.calibration) if args.precision == 'int8' else []
    tried = None if args.verify is None else accept
    path = export(graph, args.out, args.to, about, args.precision, inputs, tried)
    if tried and not found:
        tried(path)
    command = shlex.join(['python', *(sys.argv if argv is None else [__file__, *argv])])
    card = write_card(path, open_model(path).metadata, command, found[-1] if found else None)
    files = [path, *([path.with_suffix('.bin')] if args.to == 'openvino' else [])]
    size = sum(file.stat().st_size for file in files) / 2**20
    print(f'{args.out}: {graph.task} from {Path(args.checkpoint).name}, {size:.1f} MiB')
    if found and not found[-1].passed:
        print(f'error: a metric drops by more than {found[-1].bound:g} points, see {card}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
