"""Does the papers' science hold in small? The toy world, two cores, three seeds.

What      From scratch, MAE, D-MAE and D²-MAE (one pre-training each, on the 3000 unlabelled images,
          no labels), then classification, detection, segmentation and tracking with the same
          recipe, iterations and seeds for all. The classifier learns from a tenth of the labels.
          A supervised network of the same shape is what the others are compared with.
Source    Ours; the recipes are those of configs/toyworld, shorter.
Data      tools/dataset_converters/make_toyworld.py --layouts coco imagenet ade20k lasot
Cost      About three hours of a CPU core.
Run       tools/run_benchmark.py configs/suites/toyworld.py --jobs 2
"""

name = 'toyworld'
title = 'Toy world: does pre-training help small networks?'
seeds = [0, 1, 2]

_teacher = 'model.distiller.teacher.init_cfg.checkpoint'
pretrains = dict(
    teacher=dict(
        title='MAE, teacher',
        config='configs/toyworld/mae_teacher.py',
        options={'train_cfg.max_iters': 200},
    ),
    supervised=dict(
        title='supervised',
        config='configs/toyworld/deit.py',
        options={'model.backbone.arch.depth': 6},
    ),
    mae=dict(
        title='MAE',
        config='configs/toyworld/mae_student.py',
        options={'train_cfg.max_iters': 400},
    ),
    dmae=dict(
        title='D-MAE',
        config='configs/toyworld/dmae_student.py',
        options={'train_cfg.max_iters': 400},
        needs={_teacher: 'teacher'},
    ),
    d2mae=dict(
        title='D²-MAE',
        config='configs/toyworld/d2mae_student.py',
        options={'train_cfg.max_iters': 400},
        needs={_teacher: 'teacher'},
    ),
)
inits = dict(
    scratch=dict(title='from scratch'),
    mae=dict(title='MAE', pretrain='mae'),
    dmae=dict(title='D-MAE', pretrain='dmae'),
    d2mae=dict(title='D²-MAE', pretrain='d2mae'),
)


def shorter(iters, *ends):
    """Return the options of a training of so many iterations, validated in the end."""
    options = {'train_cfg.max_iters': iters, 'train_cfg.val_interval': iters}
    options['default_hooks.logger.log_metric_by_epoch'] = False
    return options | dict.fromkeys(ends, iters)


_folder = 'configs/toyworld'
tasks = dict(
    classification=dict(
        title='classification',
        configs=dict(scratch=f'{_folder}/vit_scratch.py', default=f'{_folder}/vit_finetune.py'),
        test=False,
        metrics=[dict(key='accuracy/top1', title='top-1')],
    ),
    detection=dict(
        title='detection',
        configs=dict(scratch=f'{_folder}/maskrcnn_scratch.py', default=f'{_folder}/maskrcnn_mae.py'),
        options=shorter(140, 'param_scheduler.1.end')
        | {'param_scheduler.1.T_max': 110},
        test=False,
        metrics=[
            dict(key='coco/bbox_mAP', title='box AP', scale=100.0),
            dict(key='coco/segm_mAP', title='mask AP', scale=100.0),
        ],
    ),
    segmentation=dict(
        title='segmentation',
        configs=dict(scratch=f'{_folder}/upernet_scratch.py', default=f'{_folder}/upernet_mae.py'),
        options=shorter(80, 'param_scheduler.1.end'),
        test=False,
        metrics=[dict(key='mIoU', title='mIoU')],
    ),
    tracking=dict(
        title='tracking',
        configs=dict(scratch=f'{_folder}/ostrack_scratch.py', default=f'{_folder}/ostrack_mae.py'),
        options=shorter(450) | {'custom_hooks.3.begin': 150, 'custom_hooks.3.end': 250},
        metrics=[
            dict(key='success', title='AUC'),
            dict(key='precision', title='P'),
            dict(key='norm_precision', title='P_norm'),
        ],
    ),
)
