"""Results of a suite as its runs would leave them, with figures that are easy to check."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightvit_dense.suite.results import Results, Run

BOX, MASK, TOP1 = 'coco/bbox_mAP', 'coco/segm_mAP', 'accuracy/top1'
NAMES = {'box': BOX, 'mask': MASK, 'top1': TOP1, 'miou': 'mIoU'}
COMMAND = 'python tools/train.py configs/coco/x.py --cfg-options a="<1>"'


def cell(init: str, task: str, seed: int, state: str = 'measured', **metrics: float) -> Run:
    """Return one cell; metrics are called ``box``, ``mask``, ``top1`` and ``miou``."""
    name = f'{task}_{init}_seed-{seed}'
    return Run(
        kind='cell',
        name=name,
        title=f'{task}, {init}, seed {seed}',
        state=state,
        error='RuntimeError: <out of> luck' if state == 'failed' else None,
        config=f'configs/{task}.py',
        config_hash=f'{init}{task}{seed}'.encode().hex(),
        commands=[COMMAND],
        folder=f'work/{name}',
        seconds=90.0,
        peak_memory_mb=1536.0,
        init=init,
        task=task,
        seed=seed,
        metrics={NAMES[name]: value for name, value in metrics.items()},
    )


def pretrain(name: str, title: str) -> Run:
    known = dict(state='measured', commands=[COMMAND], folder=f'work/pretrain_{name}')
    return Run(kind='pretrain', name=name, title=title, **known)


def metric(key: str, title: str, scale: float = 1.0) -> dict[str, Any]:
    return {'key': key, 'title': title, 'scale': scale, 'digits': 1}


METRICS = [metric(BOX, 'box AP', 100.0), metric(MASK, 'mask AP', 100.0)]
DETECTION = {'name': 'det', 'title': 'detection', 'metrics': METRICS}
CLASSIFICATION = {'name': 'cls', 'title': 'classification', 'metrics': [metric(TOP1, 'top-1')]}


def make_results(**changes: Any) -> Results:
    """Return three initialisations on two tasks: whole, partly failed, and not run."""
    cells = [
        *[cell('scratch', 'det', s, box=v, mask=v / 2) for s, v in enumerate((0.20, 0.22, 0.24))],
        *[cell('dmae', 'det', s, box=v, mask=v / 2) for s, v in enumerate((0.31, 0.32, 0.36))],
        cell('mae', 'det', 0, box=0.30, mask=0.14),
        cell('mae', 'det', 1, 'failed'),
        cell('mae', 'det', 2, 'not run'),
        cell('scratch', 'cls', 0, 'running'),
        cell('mae', 'cls', 0, 'failed'),
        cell('dmae', 'cls', 0, top1=64.25),
    ]
    values = dict(
        name='try',
        title='A <small> suite',
        text='Is it so?\n\nWhat      Three on two tasks.',
        file='configs/suites/try.py',
        sha256='ab' * 32,
        seeds=[0, 1, 2],
        inits=[
            {'name': 'scratch', 'title': 'from scratch'},
            {'name': 'mae', 'title': 'MAE', 'pretrain': 'mae'},
            {'name': 'dmae', 'title': 'D-MAE', 'pretrain': 'dmae'},
        ],
        tasks=[DETECTION, CLASSIFICATION],
        runs=[pretrain('mae', 'MAE'), pretrain('dmae', 'D-MAE'), *cells],
        paper=[
            {'init': 'dmae', 'task': 'det', 'metric': BOX, 'value': 42.3, 'source': 'Paper A'},
            {'init': 'mae', 'task': 'cls', 'metric': TOP1, 'value': 78.0, 'source': 'B'},
        ],
        environment={'cpu': 'a CPU', 'cores': 2, 'gpu': None, 'versions': {'torch': '2.11'}},
        finished='2026-01-02T03:04:05+0000',
    )
    return Results(**(values | changes))


def add_logs(results: Results, root: Path) -> None:
    """Write logs of all measured runs, and an analysis with a picture and one that failed."""
    for run in results.runs:
        if run.state != 'measured':
            continue
        folder = root / run.folder / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        records: list[dict[str, float]] = [
            {'step': step, 'loss': 2 / step, 'loss_reconstruction': 1 / step}
            for step in range(1, 400)
        ]
        records += [{'step': step, BOX: 0.001 * step} for step in (100, 200)]
        (folder / 'scalars.json').write_text('\n'.join(json.dumps(r) for r in records))
    folder = root / 'work/analysis_cka'
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / 'cka.png'), np.zeros((16, 16, 3), np.uint8))
    common = {'kind': 'analysis', 'tool': 'cka', 'models': ['mae', 'dmae']}
    files = ['cka.json', 'cka.png']
    likeness = dict(name='cka', title='Likeness of layers', state='measured', files=files)
    spectrum = dict(name='fourier', title='Spectrum', state='failed', error='error: no images')
    results.runs += [
        Run(folder='work/analysis_cka', **likeness, **common),
        Run(**spectrum, **common),
    ]
    comparison = dict(values=[3.0], mean=3.0, interval=[1.0, 5.0], outcome='better')
    finding = dict(title='D-MAE is at least as good as MAE', source='table 5', verdict='appears')
    finding |= dict(reason='', comparisons=[dict(label='box <AP>', **comparison)])
    results.findings = [finding]
