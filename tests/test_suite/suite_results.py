"""Results of a suite as its runs would leave them, with figures that are easy to check."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

BOX, MASK = 'coco/bbox_mAP', 'coco/segm_mAP'
COMMAND = 'python tools/train.py configs/coco/x.py --cfg-options a="<1>"'


def run(init: str, task: str, seed: int, state: str = 'measured', **metrics: float) -> dict:
    """Return one cell; metrics are called ``box``, ``mask`` and ``top1``."""
    names = {'box': BOX, 'mask': MASK, 'top1': 'accuracy/top1'}
    return {
        'init': init,
        'task': task,
        'seed': seed,
        'state': state,
        'metrics': {names[name]: value for name, value in metrics.items()},
        'title': f'{task}, {init}, seed {seed}',
        'config': f'configs/{task}.py',
        'config_hash': f'{init}{task}{seed}'.encode().hex(),
        'seconds': 90.0,
        'peak_memory_mb': 1536.0,
        'work_dir': f'work/{task}_{init}_seed-{seed}',
        'command': COMMAND,
        'error': 'RuntimeError: <out of> luck' if state == 'failed' else None,
    }


def make_results() -> dict[str, Any]:
    """Return three initialisations on two tasks: whole, partly failed, and not run."""
    cells = [
        *[run('scratch', 'det', s, box=v, mask=v / 2) for s, v in enumerate((0.20, 0.22, 0.24))],
        *[run('dmae', 'det', s, box=v, mask=v / 2) for s, v in enumerate((0.31, 0.32, 0.36))],
        run('mae', 'det', 0, box=0.30, mask=0.14),
        run('mae', 'det', 1, 'failed'),
        run('mae', 'det', 2, 'not run'),
        run('scratch', 'cls', 0, 'running'),
        run('mae', 'cls', 0, 'failed'),
        run('dmae', 'cls', 0, top1=64.25),
    ]
    pretrains = [
        run('x', 'pretrain', 0)
        | {'name': name, 'title': title, 'work_dir': f'work/pretrain_{name}'}
        for name, title in (('mae', 'MAE'), ('dmae', 'D-MAE'))
    ]
    return {
        'suite': {
            'name': 'try',
            'title': 'A <small> suite',
            'text': 'Is it so?\n\nWhat      Three,\n          on two tasks.\nSource    Ours.',
            'file': 'configs/suites/try.py',
            'sha256': 'ab' * 32,
        },
        'smoke': False,
        'seeds': [0, 1, 2],
        'inits': [
            {'name': 'scratch', 'title': 'from scratch', 'pretrain': None, 'checkpoint': None},
            {'name': 'mae', 'title': 'MAE', 'pretrain': 'mae', 'checkpoint': None},
            {'name': 'dmae', 'title': 'D-MAE', 'pretrain': 'dmae', 'checkpoint': None},
        ],
        'tasks': [
            {
                'name': 'det',
                'title': 'detection',
                'metrics': [
                    {'key': BOX, 'title': 'box AP', 'scale': 100.0, 'digits': 1},
                    {'key': MASK, 'title': 'mask AP', 'scale': 100.0, 'digits': 1},
                ],
            },
            {
                'name': 'cls',
                'title': 'classification',
                'metrics': [{'key': 'accuracy/top1', 'title': 'top-1', 'scale': 1.0, 'digits': 1}],
            },
        ],
        'cells': cells,
        'pretrains': pretrains,
        'analyses': [],
        'paper': [
            {'init': 'dmae', 'task': 'det', 'metric': BOX, 'value': 42.3, 'source': 'Paper A'},
            {'init': 'mae', 'task': 'cls', 'metric': 'accuracy/top1', 'value': 78.0, 'source': 'B'},
        ],
        'environment': {'cpu': 'a CPU', 'cores': 2, 'gpu': None, 'versions': {'torch': '2.11'}},
        'finished': '2026-01-02T03:04:05+0000',
    }


def add_logs(results: dict[str, Any], root: Path) -> None:
    """Write logs of all measured runs, and an analysis with a picture and one that failed."""
    for kind in ('pretrains', 'cells'):
        for cell in results[kind]:
            if cell['state'] != 'measured':
                continue
            folder = root / cell['work_dir'] / '20260101_000000' / 'vis_data'
            folder.mkdir(parents=True)
            records: list[dict[str, float]] = [
                {'step': step, 'loss': 2 / step, 'loss_reconstruction': 1 / step}
                for step in range(1, 400)
            ]
            records += [{'step': step, BOX: 0.001 * step} for step in (100, 200)]
            (folder / 'scalars.json').write_text('\n'.join(json.dumps(r) for r in records))
    folder = root / 'work/analysis_cka'
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (160, 1600, 3), np.uint8)
    cv2.imwrite(str(folder / 'cka.png'), noise)
    common = {'tool': 'cka', 'models': ['mae', 'dmae'], 'command': 'python cka.py', 'seconds': 3.0}
    results['analyses'] = [
        common
        | {
            'name': 'cka',
            'title': 'Likeness of layers',
            'state': 'measured',
            'error': None,
            'folder': 'work/analysis_cka',
            'files': ['cka.json', 'cka.png'],
        },
        common
        | {
            'name': 'fourier',
            'title': 'Spectrum',
            'state': 'failed',
            'error': 'error: no images',
            'folder': 'work/analysis_fourier',
            'files': [],
        },
    ]
    results['findings'] = [
        {
            'title': 'D-MAE is at least as good as MAE',
            'source': 'table 5',
            'verdict': 'appears',
            'sentence': 'It is better by 3.0.',
            'numbers': [3.0],
        }
    ]
