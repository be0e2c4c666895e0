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
    return options | dict.fromkeys(ends, iters)


_folder = 'configs/toyworld'
tasks = dict(
    classification=dict(
        title='classification',
        configs=dict(scratch=f'{_folder}/vit_scratch.py', default=f'{_folder}/vit_finetune.py'),
        options=shorter(150, 'param_scheduler.end') | {'param_scheduler.warmup': 15},
        test=False,
        metrics=[dict(key='accuracy/top1', title='top-1')],
    ),
    detection=dict(
        title='detection',
        configs=dict(
            scratch=f'{_folder}/maskrcnn_scratch.py', default=f'{_folder}/maskrcnn_mae.py'
        ),
        options=shorter(120, 'param_scheduler.CosineAnnealingLR.end')
        | {'param_scheduler.CosineAnnealingLR.T_max': 90},
        test=False,
        metrics=[
            dict(key='coco/bbox_mAP', title='box AP', scale=100.0),
            dict(key='coco/segm_mAP', title='mask AP', scale=100.0),
        ],
    ),
    segmentation=dict(
        title='segmentation',
        configs=dict(scratch=f'{_folder}/upernet_scratch.py', default=f'{_folder}/upernet_mae.py'),
        options=shorter(70, 'param_scheduler.PolyLR.end'),
        test=False,
        metrics=[dict(key='mIoU', title='mIoU')],
    ),
    tracking=dict(
        title='tracking',
        configs=dict(scratch=f'{_folder}/ostrack_scratch.py', default=f'{_folder}/ostrack_mae.py'),
        options=shorter(400)
        | {'default_hooks.elimination.begin': 150, 'default_hooks.elimination.end': 250},
        metrics=[
            dict(key='success', title='AUC'),
            dict(key='precision', title='P'),
            dict(key='norm_precision', title='P_norm'),
        ],
    ),
)

_photographs = 'toyworld/coco/unlabeled2017'
_depths = dict(limit=1024, batch_size=128, size=64)
analyses = dict(
    cka_mae=dict(
        title='Likeness of layers: MAE and supervised',
        tool='cka',
        models=['mae', 'supervised'],
        images=_photographs,
        options=_depths,
    ),
    cka_dmae=dict(
        title='Likeness of layers: D-MAE and supervised',
        tool='cka',
        models=['dmae', 'supervised'],
        images=_photographs,
        options=_depths,
    ),
    cka_d2mae=dict(
        title='Likeness of layers: D²-MAE and supervised',
        tool='cka',
        models=['d2mae', 'supervised'],
        images=_photographs,
        options=_depths,
    ),
    attention=dict(
        title='How far and how widely heads look',
        tool='attention_stats',
        models=['supervised', 'mae', 'dmae', 'd2mae'],
        images=_photographs,
        options=_depths,
    ),
    fourier=dict(
        title='High frequencies, layer by layer',
        tool='fourier',
        models=['supervised', 'mae', 'dmae', 'd2mae'],
        images=_photographs,
        options=_depths,
    ),
    agreement_mae=dict(
        title="MAE's last attention and its teacher's",
        tool='attention_agreement',
        models=['mae', 'teacher'],
        images=_photographs,
        options=_depths,
    ),
    agreement_dmae=dict(
        title="D-MAE's last attention and its teacher's",
        tool='attention_agreement',
        models=['dmae', 'teacher'],
        images=_photographs,
        options=_depths,
    ),
)

_first, _second = 'arXiv 2205.14443', 'arXiv 2404.12210'
findings = [
    dict(
        type='at_least',
        title='D-MAE is at least as good as MAE where labels are few',
        source=f'{_first}, table 5',
        init='dmae',
        base='mae',
    ),
    dict(
        type='at_least',
        title='D²-MAE is at least as good as D-MAE',
        source=_second,
        init='d2mae',
        base='dmae',
    ),
    dict(
        type='at_least',
        title='MAE is at least as good as no pre-training',
        source=f'{_first}, table 5',
        init='mae',
        base='scratch',
    ),
    dict(
        type='compare_analysis',
        title='Distillation makes upper layers more like those of a supervised network',
        source=f'{_first}, figure 6',
        left=dict(analysis='cka_dmae', quantity='cka'),
        right=dict(analysis='cka_mae'),
        relation='>',
        margin=0.02,
    ),
    dict(
        type='compare_analysis',
        title="MAE's upper layers are local",
        source=f'{_first}, section 4',
        left=dict(analysis='attention', quantity='distance', model='mae'),
        right=[dict(layers='lower'), dict(model='supervised')],
        margin=0.05,
        relative=True,
    ),
    dict(
        type='compare_analysis',
        title="MAE's upper layers have low entropy",
        source=f'{_second}, figure 5',
        left=dict(analysis='attention', quantity='entropy', model='mae'),
        right=[dict(layers='lower'), dict(model='supervised')],
        margin=0.05,
        relative=True,
    ),
    dict(
        type='compare_analysis',
        title="MAE's lower layers are more like a supervised network's than its upper ones",
        source=f'{_first}, figure 2',
        left=dict(analysis='cka_mae', quantity='cka_diagonal', layers='lower'),
        right=dict(layers='upper'),
        relation='>',
        margin=0.02,
    ),
    dict(
        type='compare_analysis',
        title='After distillation, heads of the student explain those of its teacher',
        source=f'{_first}, section 5',
        left=dict(analysis='agreement_dmae', quantity='attention_r2', layers='last'),
        right=dict(analysis='agreement_mae'),
        relation='>',
        margin=0.05,
    ),
]
