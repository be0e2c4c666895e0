"""Measure training steps at full recipe size on this machine.

Each recipe runs in a process of its own: images per second, peak memory, arithmetic and its share
of the rate of a large matrix product, and for D-MAE what the teacher costs.

Example:
    python tools/benchmark/run.py train_step --batch mae=32 dmae=32 maskrcnn=2 --json step.json
    python tools/benchmark/run.py train_step --device cuda --amp bf16 --compile
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch

from lightvit_dense.errors import UserError

from .. import harness
from ..steps import STEP_COLUMNS, Loss, TrainingStep, build_model, per_image

CASES = {
    'mae': ('MAE-Tiny 224', 'configs/pretrain/mae_vit-tiny.py', 224),
    'dmae': ('D-MAE-Tiny 224, ViT-Base teacher', 'configs/pretrain/dmae_vit-tiny.py', 224),
    'maskrcnn': ('Mask R-CNN ViT-Tiny 640', 'configs/coco/maskrcnn_dmae_tiny.py', 640),
}
DEFAULT_BATCH = {
    'cpu': {'mae': 32, 'dmae': 32, 'maskrcnn': 2},
    'cuda': {'mae': 256, 'dmae': 256, 'maskrcnn': 8},
}
OBJECTS = 7  # an image; COCO has as many on average
OPTIONS = {
    'cases': dict(nargs='+', choices=list(CASES), default=list(CASES), help='which'),
    **harness.STEP_OPTIONS,
    'batch': dict(
        nargs='+',
        default=[],
        metavar='N|CASE=N',
        help='images a step, of all cases or of one (default: 32 32 2 on CPU, 256 256 8 on GPU)',
    ),
    'repeats': 7,
    'warmup': 2,
}


def check(args: argparse.Namespace) -> None:
    """Read the batches of all cases."""
    args.batches = dict(DEFAULT_BATCH[torch.device(args.device).type])
    for word in args.batch:
        case, _, count = word.rpartition('=')
        if not count.isdigit() or int(count) < 1 or (case and case not in CASES):
            raise UserError(f'--batch {word}: expected N or CASE=N with CASE in {", ".join(CASES)}')
        args.batches.update({case: int(count)} if case else dict.fromkeys(CASES, int(count)))


def batch_of(case: str, model: Any, count: int, size: int) -> dict[str, Any]:
    """Return a collated batch of random images, with objects where the model detects some."""
    from mmdet.testing import demo_mm_inputs
    from mmengine.structures import BaseDataElement

    objects = dict(num_items=[OBJECTS] * count, with_mask=True, use_box_type=True)
    if case == 'maskrcnn':
        objects['num_classes'] = model.roi_head.bbox_head.num_classes
    data: dict[str, Any] = demo_mm_inputs(count, (3, size, size), **objects)
    if case != 'maskrcnn':
        data['data_samples'] = [BaseDataElement() for _ in range(count)]
    return data


def loss_of(model: Any, data: dict[str, Any]) -> torch.Tensor:
    """Preprocess a collated batch and return the sum of the losses."""
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    return model.parse_losses(losses)[0]


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> Any:
    """Measure one recipe."""
    case = task['group']
    _, path, size = CASES[case]
    batch, fused = args.batches[case], args.device != 'cpu'

    def make_step(distilled: bool = True) -> TrainingStep:
        model = build_model(harness.ROOT / path)
        if not distilled:
            model.distiller = None
        data, loss = batch_of(case, model, batch, size), Loss(model, loss_of)
        return TrainingStep(loss, (data,), args.device, args.amp, fused, args.compile)

    step = make_step()
    memory = harness.measure_memory({'step': step}, args.device)['step']
    calls: dict[str, harness.Call] = {'step': step}
    if case == 'dmae':
        model: Any = step.loss.model
        inputs = model.data_preprocessor(step.data[0], True)['inputs']
        ids_keep = model._mask(inputs, None).ids_keep

        def run_teacher() -> None:
            with harness.autocast(args.device, args.amp):
                model.distiller.teacher_view(inputs, ids_keep)

        calls |= {'teacher': run_teacher, 'undistilled': make_step(distilled=False)}
    flops = {'step': step.count_flops()}
    found = harness.compare(calls, args.repeats, args.warmup, args.device, args.amp, flops)
    row = {'case': case, 'image_size': size, **found.pop('step'), **memory, **found}
    row |= {'parameters': sum(p.numel() for p in step.loss.parameters() if p.requires_grad)}
    return per_image(row, batch)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure every case."""
    titles = {case: CASES[case][0] for case in args.cases}
    rows = [row for _, row in harness.run_groups(args, titles)]
    columns: dict[str, harness.Column] = {
        'case': lambda row: titles[row['case']],
        'batch': '{batch}',
    }
    title = 'Training step' + (', compiled' if args.compile else '')
    lines = [harness.table(title, columns | STEP_COLUMNS, rows)]
    lines += [
        f'The teacher takes {row["teacher"]["ratio"]:.0%} of the D-MAE step '
        f'({row["teacher"]["median"]:.3f} s alone); without distillation the step takes '
        f'{row["undistilled"]["median"]:.3f} s, {1 - row["undistilled"]["ratio"]:.0%} less.'
        for row in rows
        if 'teacher' in row
    ]
    return harness.Report(rows, '\n'.join(lines))
