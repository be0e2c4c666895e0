"""One of two ranks that share no folder: what they agree on, collect, receive and average.

Run as ``python ranks_worker.py CONFIG DIRECTORY`` with torchrun's variables set.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.registry import METRICS
from torch import nn

from lightvit_dense import apis
from lightvit_dense.compat import finish_distributed, init_distributed
from lightvit_dense.datasets import ImageNet
from lightvit_dense.engine.hooks import CheckpointHook
from lightvit_dense.errors import UserError

TYPES = [
    dict(type='lightvit_dense.Accuracy', topk=(1, 2)),
    dict(type='mmseg.IoUMetric', iou_metrics=['mIoU']),
    dict(type='mmdet.DumpDetResults', out_file_path='results.pkl'),
]


def evaluate(places: Sequence[int]) -> list[dict]:
    """Evaluate random predictions at some places of a data set of five by each metric."""
    samples, found = [], []
    for place in places:
        drawn = 3 * torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(place))
        maps = [dict(data=image) for image in drawn[:2].long()]
        samples.append(dict(pred_sem_seg=maps[0], gt_sem_seg=maps[1], gt_label=place % 3))
        samples[-1]['pred_score'] = drawn[2, 0, 0]
    for cfg in TYPES:
        metric = METRICS.build(cfg)
        metric.dataset_meta = dict(classes=('a', 'b', 'c'))
        metric.process({}, [dict(sample) for sample in samples])
        found.append({key: float(value) for key, value in metric.evaluate(5).items()})
    return found


def main() -> None:
    """Do it all, and save what this rank found."""
    config, directory = sys.argv[1:]
    rank = int(os.environ['RANK'])
    os.chdir(Path(directory) / f'rank {rank}')  # rank 0 alone has images
    init_distributed('pytorch', timeout=60)

    def train(resume: bool = False, **options: Any) -> Any:
        """Return the runner, or the message of the error."""
        try:
            return apis.train(config, 'work', resume, cfg_options=options, launcher='pytorch')
        except UserError as error:
            return str(error)

    images, norms = ImageNet('images'), [nn.BatchNorm1d(1), nn.BatchNorm1d(1)]
    for norm in norms:
        norm.running_var.fill_(1 + 4 * rank)
    runner = SimpleNamespace(model=norms[0], hooks=[SimpleNamespace(ema_model=norms[1])])
    CheckpointHook().before_val_epoch(runner)
    found: dict[str, Any] = dict(
        figures=evaluate([(0, 2, 4), (1, 3, 0)][rank]),
        images=[images.get_data_info(place)['img_path'] for place in range(3)],
        variances=[float(norm.running_var) for norm in norms],
        config=train(**{'optim_wrapper.optimizer.lr': 0.1 * (1 + rank)}),
        unused=train(find_unused_parameters=True).model.find_unused_parameters,
    )
    Path('work/last_checkpoint').unlink(missing_ok=True)  # it has the whole path
    found['resume'] = train(True, **{'train_cfg.max_iters': 4})
    if rank:
        shutil.copytree('../rank 0/work', 'work', dirs_exist_ok=True)
    found['iterations'] = train(True, **{'train_cfg.max_iters': 4}).iter
    found['files'] = sorted(os.listdir())
    Path('found.json').write_text(json.dumps(found))
    finish_distributed()


if __name__ == '__main__':
    main()
