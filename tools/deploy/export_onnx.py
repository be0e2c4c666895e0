"""Write a model as ONNX, prove that ONNX Runtime computes the same, and time both.

Example:
    python tools/deploy/export_onnx.py configs/ade20k/upernet_dmae_tiny.py CHECKPOINT.pth \
        --part whole --shape 512 512 --out upernet.onnx
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from lightvit_dense import apis
from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.apis.classes import class_names
from lightvit_dense.apis.inferencers import task_of
from lightvit_dense.deploy import (
    PARTS,
    add_metadata,
    compare_labels,
    compare_onnx,
    export_onnx,
    make_normalisation,
    make_part,
    onnx_session,
)
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.environment import time_calls
from lightvit_dense.utils.io import write_json

RELATIVE, AGREEMENT = 1e-4, 0.999


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Export a model to ONNX')
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add('--out', required=True, metavar='FILE.onnx', help='file to write')
    text = 'size of the image; it becomes part of the file'
    add('--shape', type=int, nargs=2, required=True, metavar=('H', 'W'), help=text)
    add('--part', choices=PARTS, default='backbone+neck', help='default: backbone+neck')
    text = 'whole segmentor: class of each pixel (default), or scores of all classes'
    add('--output', choices=['labels', 'scores'], default='labels', help=text)
    text = 'the input is normalised already (default: RGB in 0..255, normalised inside)'
    add('--normalised', action='store_true', help=text)
    add('--batch', type=int, help='fixed number of images (default: any)')
    add('--opset', type=int, default=17, help="ONNX's version (default: 17)")
    add('--threads', type=int, default=1, help='threads when timing (default: 1)')
    add('--repeats', type=int, default=5, help='timed calls (default: 5)')
    add('--json', metavar='FILE.json', help='write what is printed')
    add_cfg_options(parser, 'override config values, such as model.test_cfg.mode=whole')
    args = parser.parse_args(argv)
    for name in ('batch', 'threads', 'repeats', 'opset'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} {value}: expected a positive number')
    if min(args.shape) < 1:
        parser.error(f'--shape {args.shape[0]} {args.shape[1]}: expected positive numbers')
    return args


def cut(args: argparse.Namespace, cfg: Config) -> tuple[nn.Module, list[str], dict[str, Any]]:
    """Return the part that is asked for, the names of its outputs, and what the file says."""
    model = apis.build_model(cfg, args.checkpoint, 'cpu')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    normalisation = None
    if not args.normalised:
        normalisation = make_normalisation(model, dataset.get('pipeline'))
    task = task_of(model)
    labels = args.output == 'labels'
    part, names = make_part(model, task, args.part, tuple(args.shape), normalisation, labels)
    about = dict(
        config=Path(args.config).name,
        task=task,
        part=args.part,
        input='normalised' if args.normalised else 'RGB in 0..255',
        classes=json.dumps(class_names(model, cfg)),
    )
    return part, names, about


def measure(args: argparse.Namespace, part: nn.Module, labels: bool) -> dict[str, Any]:
    """Compare the file with torch, and time both."""
    torch.set_num_threads(args.threads)
    session = onnx_session(args.out, args.threads)
    images = example(args, seed=1)
    found: dict[str, Any] = {}
    if labels:
        found['agreement'] = compare_labels(session, part, images)
        found['passed'] = found['agreement'] >= AGREEMENT
    else:
        parity = compare_onnx(session, part, images)
        found |= dict(largest=parity.largest, relative=parity.relative)
        found['passed'] = parity.relative <= RELATIVE
    feed = {'image': images.numpy()}

    @torch.no_grad()
    def run_torch() -> None:
        part(images)

    for name, call in (('torch', run_torch), ('onnx', lambda: session.run(None, feed))):
        found[f'{name}_ms'] = 1e3 * statistics.median(time_calls(call, args.repeats, 1))
    return found


def example(args: argparse.Namespace, seed: int) -> torch.Tensor:
    """Return random images of the size that is asked for."""
    generator = torch.Generator().manual_seed(seed)
    size = (args.batch or 1, 3, *args.shape)
    if args.normalised:
        return torch.randn(size, generator=generator)
    return torch.randint(0, 256, size, generator=generator).float()


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status: 1 if ONNX Runtime computes something else."""
    args = parse_args(argv)
    if not args.out.endswith('.onnx'):
        raise UserError(f'--out {args.out}: the name of an ONNX file ends in .onnx')
    cfg = apis.load_config(args.config, args.cfg_options)
    part, names, about = cut(args, cfg)
    images = example(args, seed=0)
    dynamic = args.batch is None
    export_onnx(part, args.out, images, names, dynamic_batch=dynamic, opset=args.opset)
    add_metadata(args.out, about)
    labels = names == ['labels']
    found = measure(args, part, labels)
    size = Path(args.out).stat().st_size / 2**20
    print(f'{args.out}: {about["part"]} of a model for {about["task"]}, {size:.1f} MB')
    batch = 'any number of' if dynamic else args.batch
    print(f'input: {batch} images [3, {args.shape[0]}, {args.shape[1]}], {about["input"]}')
    if labels:
        print(f'equal labels: {100 * found["agreement"]:.4f}% (at least {100 * AGREEMENT}%)')
    else:
        print(
            f'largest difference: {found["largest"]:.2e}, relative {found["relative"]:.2e} '
            f'(at most {RELATIVE:.0e})'
        )
    print(
        f'a call with {len(images)} image(s), {args.threads} thread(s): torch '
        f'{found["torch_ms"]:.1f} ms, ONNX Runtime {found["onnx_ms"]:.1f} ms (medians)'
    )
    if args.json:
        content = dict(about, classes=json.loads(about['classes']), shape=args.shape, **found)
        write_json(args.json, content)
    if not found['passed']:
        print('error: ONNX Runtime computes something else than torch', file=sys.stderr)
    return 0 if found['passed'] else 1


if __name__ == '__main__':
    sys.exit(run_tool(main))
