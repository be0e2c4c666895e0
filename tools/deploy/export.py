"""Write a model as one file that takes images and gives what is found, without torch.

The file's metadata name classes, config and checkpoint; ``lightvit_dense_runtime.load`` opens it.

Example:
    python tools/deploy/export.py configs/coco/maskrcnn_dmae_tiny.py CHECKPOINT.pth \
        --to onnx --out detector.onnx
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.apis.classes import class_names
from lightvit_dense.deploy import PRECISIONS, SUFFIXES, check_target, describe, export, make_graph
from lightvit_dense.errors import run_tool


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
    add_cfg_options(parser, 'override config values, such as model.test_cfg.mode=whole')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    check_target(args.out, args.to, args.precision)
    cfg = apis.load_config(args.config, args.cfg_options)
    loaded = apis.load(args.checkpoint, args.task, cfg, 'cpu')
    model: Any = loaded.network or loaded.backbone
    graph = make_graph(model, cfg, args.size and tuple(args.size), loaded.task)
    classes = () if loaded.task in ('features', 'tracking') else class_names(model, cfg)
    about = describe(graph, args.config, args.checkpoint, classes)
    path = export(graph, args.out, args.to, about, args.precision)
    files = [path, *([path.with_suffix('.bin')] if args.to == 'openvino' else [])]
    size = sum(file.stat().st_size for file in files) / 2**20
    print(f'{args.out}: {graph.task} from {Path(args.checkpoint).name}, {size:.1f} MiB')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
