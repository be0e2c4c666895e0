"""Time exported models beside torch: tasks x runtimes x precisions x threads.

A picture goes in as a camera gives it, and what a user wants comes out. Torch is the inferencer of
the Python API; of a tracker, and of MobileNet-v3, it is the graph that is exported. Each model and
runtime has processes of its own, which take turns in several passes. Weights are random, and what
is calibrated for 8 bits is noise, which is all that speed needs.

Example:
    python tools/benchmark/run.py deploy --runtimes onnx openvino --json deploy.json
    python tools/benchmark/run.py deploy --models configs/toyworld/maskrcnn_scratch.py --threads 1
    python tools/benchmark/run.py deploy --files work_dirs/exported
"""

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightvit_dense import apis
from lightvit_dense.apis.configs import load_config
from lightvit_dense.deploy import (
    PRECISIONS,
    SUFFIXES,
    Graph,
    check_target,
    describe,
    export,
    make_graph,
)
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.utils import environment
from lightvit_dense_runtime import open_model

from .. import harness

CPU = torch.device('cpu')
CONFIGS = Path(__file__).parents[3] / 'configs'
CLASSIFIER = str(CONFIGS / 'imagenet' / 'finetune_scratch_vit-tiny_original_300e.py')
RIVAL, TIMM_NAME = 'mobilenet_v3', 'mobilenetv3_large_100'
PICTURE = (480, 640)
TASKS = (
    'toyworld/maskrcnn_scratch.py',
    'coco/maskrcnn_scratch_tiny.py',
    'ade20k/upernet_scratch_tiny.py',
    'lasot/ostrack256_scratch_tiny.py',
)
DEFAULTS = [CLASSIFIER, RIVAL, *(str(CONFIGS / name) for name in TASKS)]
OPTIONS = {
    'models': dict(nargs='+', default=DEFAULTS, metavar='CONFIG', help=f'or {RIVAL}'),
    'runtimes': dict(nargs='+', choices=list(SUFFIXES), default=list(SUFFIXES), help='which'),
    'precisions': dict(nargs='+', choices=PRECISIONS, default=['fp32', 'int8'], help='of files'),
    'threads': dict(nargs='+', type=harness.count, default=[1, 2], help='numbers of CPU threads'),
    'files': dict(metavar='DIR', help='keep the files in DIR, and use those of another run'),
    'passes': dict(type=harness.count, default=3, help='passes over all ways'),
    'budget': dict(type=float, default=10.0, help='seconds of timed calls a way and pass'),
    'repeats': 50,
}


def config_of(name: str) -> Any:
    """Return the config of a model with random weights, whose objects all count."""
    cfg = load_config(CLASSIFIER if name == RIVAL else name)
    rcnn = (cfg.model.get('test_cfg') or {}).get('rcnn')
    if rcnn:  # random weights are sure of no object
        rcnn.score_thr = 0.0
    for part in (cfg.model, cfg.model.get('backbone') or {}):
        part.pop('init_cfg', None)
    return cfg


def graph_of(name: str, to: str) -> tuple[Graph, dict[str, np.ndarray]]:
    """Return the graph of a model for a runtime, and its inputs."""
    cfg = config_of(name)
    torch.manual_seed(0)
    model: Any = apis.build_model(cfg, device='cpu')
    if name == RIVAL:
        prepare = model.data_preprocessor
        model = MODELS.build(dict(type='lightvit_dense.TimmClassifier', name=TIMM_NAME))
        model.data_preprocessor = prepare
    graph = make_graph(model, cfg)
    if to == 'executorch' and graph.task == 'segmentation':
        graph = make_graph(model, cfg, PICTURE)
    inputs = dict(zip(graph.input_names, (x.numpy() for x in graph.example()), strict=True))
    if 'image' in inputs:
        rng = np.random.default_rng(0)
        inputs['image'] = rng.integers(0, 256, (1, *PICTURE, 3), dtype=np.uint8)
    return graph, inputs


def write(name: str, to: str, precision: str, path: Path) -> dict[str, Any]:
    """Export a model and keep its inputs; returns the size in MiB, or why there is no file."""
    kept = path.with_suffix('.npz')
    try:
        check_target(path, to, precision)
        if not kept.exists():
            graph, inputs = graph_of(name, to)
            about = describe(graph, name, __file__)
            export(graph, path, to, about, precision, [inputs] if precision == 'int8' else [])
            np.savez(kept, **inputs)
    except UserError as reason:
        return {'unavailable': str(reason)}
    files = (path, path.with_suffix('.bin'))
    return {'mb': sum(file.stat().st_size for file in files if file.exists()) / 2**20}


def eager(name: str) -> tuple[harness.Call, torch.nn.Module]:
    """Return the call of torch, and its model."""
    graph, inputs = graph_of(name, 'torch')
    if name != RIVAL and 'image' in inputs:
        infer = apis.make_inferencer(config_of(name), device='cpu')
        return partial(infer, inputs['image'][0]), infer.model
    return torch.no_grad()(partial(graph, *map(torch.from_numpy, inputs.values()))), graph


def work(args: argparse.Namespace, task: Mapping[str, Any]) -> dict[str, Any]:
    """Write a file, or time it or torch: seconds of calls, and MiB of weights and computing."""
    name, path = task['model'], Path(task.get('file', ''))
    if 'to' in task:
        return write(name, task['to'], task['precision'], path)
    if path.suffix:
        held = harness.held_memory_mb(CPU)
        inputs = dict(np.load(path.with_suffix('.npz')))
        call: harness.Call = partial(open_model(path, threads=task['threads']), **inputs)
    else:
        call, model = eager(name)
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        held = harness.held_memory_mb(CPU) - weights / 2**20
    seconds = environment.time_calls(call, args.repeats, 3, budget=args.budget)
    return {'seconds': seconds, 'memory_mb': environment.peak_memory_mb(CPU) - held}


def measure_model(args: argparse.Namespace, name: str, folder: Path) -> list[dict[str, Any]]:
    """Export a model in all ways; time them and torch, in turns, with each number of threads."""
    rows: list[dict[str, Any]] = []
    ways = {('torch', 'fp32'): {'task': {}}}
    for to in args.runtimes:
        for precision in args.precisions:
            file = str(folder / f'{to}-{precision}{SUFFIXES[to]}')
            cell = harness.run_worker(args, model=name, to=to, precision=precision, file=file)
            ways[to, precision] = cell | {'task': {'file': file}}
    for threads in args.threads:
        found: dict[Any, list[dict[str, Any]]] = {way: [] for way in ways}
        for number in range(args.passes):
            for way in list(ways)[:: -1 if number % 2 else 1]:
                if 'unavailable' not in ways[way]:
                    task = dict(ways[way]['task'], model=name, threads=threads)
                    found[way].append(harness.run_worker(args, **task))
        first = np.concatenate([cell['seconds'] for cell in found['torch', 'fp32']])
        for (to, precision), cells in found.items():
            row = {'model': Path(name).stem, 'way': to, 'precision': precision, 'threads': threads}
            row |= {key: value for key, value in ways[to, precision].items() if key != 'task'}
            if cells:
                seconds = np.concatenate([cell['seconds'] for cell in cells])
                p50, p99 = np.percentile(seconds, (50, 99)).tolist()
                row |= {'p50_ms': 1e3 * p50, 'p99_ms': 1e3 * p99, 'per_s': 1 / seconds.mean()}
                row |= {'faster': float(np.median(first)) / p50, 'calls': len(seconds)}
                row |= {'memory_mb': max(cell['memory_mb'] for cell in cells)}
            rows.append(row)
    return rows


COLUMNS: dict[str, harness.Column] = {
    'model': '{model}',
    'computed by': '{way}',
    'precision': '{precision}',
    'threads': '{threads}',
    'p50 ms': '{p50_ms:.1f}',
    'p99 ms': '{p99_ms:.1f}',
    'a second': '{per_s:.1f}',
    'faster by': '{faster:.2f}x',
    'file MiB': '{mb:.1f}',
    'peak MiB': '{memory_mb:.0f}',
    'why not': '{unavailable}',
}
NOTE = (
    'Pictures of 640x480 px one at a time, calls of all passes together. Faster than torch with '
    'as many threads. Peak MiB is of weights and computing, without libraries.'
)


def measure(args: argparse.Namespace) -> harness.Report:
    """Measure all models, one after the other."""
    rows = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            if args.files:
                folder = str(Path(args.files, *Path(name).with_suffix('').parts[-2:]))
                Path(folder).mkdir(parents=True, exist_ok=True)
            rows += measure_model(args, name, Path(folder))
    return harness.Report(rows, f'{harness.table("Exported models", COLUMNS, rows)}\n{NOTE}')
