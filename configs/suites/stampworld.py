"""What pre-training is worth on the stamp world, whose test objects are strangers.

What      From scratch, supervised, MAE, D-MAE (teacher of the same world, and DINOv2-S) and D²-MAE
          (DINOv2-S), one pre-training each on 3000 unlabelled images; then classification,
          detection, segmentation and tracking with the same recipe, iterations and seeds for all.
          Labels 1x, 4x and 16x: 64, 256 and 1024 images to detect and segment; 3%, 12% and 48% of
          the portraits to classify. MAE and D-MAE from DINOv2-S for 200, 800 and 3200 iterations.
Source    Ours; the recipes are those of configs/toyworld, shorter, batches of 64 to pre-train.
Data      tools/dataset_converters/make_toyworld.py --objects stamps, made by the suite.
Cost      Not run to its end. Nine core hours, estimated; DINOv2-S takes a second an iteration.
Run       tools/run_benchmark.py configs/suites/stampworld.py --jobs 2
"""

name = 'stampworld'
title = 'Stamp world: pre-training, labels and iterations'
seeds = [0, 1, 2]

prepare = dict(
    world=dict(
        title='Stamp world',
        tool='tools/dataset_converters/make_toyworld.py',
        options=dict(
            objects='stamps',
            out='{data}/stampworld',
            layouts=['coco', 'imagenet', 'ade20k', 'lasot'],
            train=1024,
        ),
        smoke=dict(
            train=8,
            val=9,
            unlabeled=12,
            portraits=18,
            videos=9,
            test_videos=9,
            video_frames=20,
            test_frames=20,
        ),
        outputs=['stampworld/coco/annotations/instances_val2017.json'],
        version='lightvit_dense.datasets.toyworld.world:GENERATOR',
    ),
    dinov2=dict(
        title='DINOv2-S',
        tool='tools/model_converters/fetch_teacher.py',
        args=['dinov2-small'],
        options=dict(out='{data}/checkpoints'),
        outputs=['checkpoints/vit_small_patch14_dinov2.lvd142m.safetensors'],
    ),
)

_folder = 'configs/stampworld'
_teacher = {'model.distiller.teacher.init_cfg.checkpoint': 'teacher'}


def pretraining(title, config, iters, needs=(), more=()):
    """Return a pre-training of so many iterations, with ``more`` options."""
    length = {'train_cfg.max_iters': iters, 'param_scheduler.warmup': iters // 10}
    return dict(
        title=title,
        config=f'{_folder}/stamps_{config}.py',
        options=length | {'train_dataloader.batch_size': 64} | dict(more),
        needs=dict(needs),
    )


pretrains = dict(
    supervised=dict(title='supervised', config=f'{_folder}/stamps_deit.py'),
    teacher=pretraining('MAE, teacher', 'mae_teacher', 1600),
    mae=pretraining('MAE', 'mae', 3200),
    dmae=pretraining('D-MAE', 'dmae', 3200, _teacher),
    dmae_dinov2=pretraining('D-MAE, DINOv2-S', 'dmae_dinov2', 3200),
    d2mae_dinov2=pretraining('D²-MAE, DINOv2-S', 'd2mae_dinov2', 3200),
    mae_200=pretraining('MAE, 200 iterations', 'mae', 200),
    mae_800=pretraining('MAE, 800 iterations', 'mae', 800),
    dmae_dinov2_200=pretraining('D-MAE, DINOv2-S, 200 iterations', 'dmae_dinov2', 200),
    dmae_dinov2_800=pretraining('D-MAE, DINOv2-S, 800 iterations', 'dmae_dinov2', 800),
    dmae_dinov2_raw_800=pretraining(
        'D-MAE, DINOv2-S, raw logits, 800 iterations',
        'dmae_dinov2',
        800,
        more={'model.distiller.target': 'logits', 'model.distiller.loss_weight': 0.05},
    ),
)
_first_labels = ['classification', 'detection', 'segmentation']
inits = dict(scratch=dict(title='from scratch'))
for _name, _entry in pretrains.items():
    if _name != 'teacher':
        inits[_name] = dict(title=_entry['title'], pretrain=_name)
    if _name.endswith('00'):
        inits[_name]['tasks'] = _first_labels
for _name in ('supervised', 'dmae', 'd2mae_dinov2'):
    inits[_name]['tasks'] = [*_first_labels, 'tracking']


def task(title, stem, metrics, iters, options, more=None, **other):
    """Return a task that is validated at its end, with more labels in ``more``."""
    options = options | {'train_cfg.max_iters': iters, 'train_cfg.val_interval': iters}
    return dict(
        title=title,
        configs=dict(
            scratch=f'{_folder}/stamps_{stem}_scratch.py',
            default=f'{_folder}/stamps_{stem}_finetune.py',
        ),
        options=options | (more or {}),
        metrics=metrics,
        **other,
    )


_labels = {'': 64, '_4x': 256, '_16x': 1024}
tasks = {}
for _suffix, _images in _labels.items():
    tasks[f'classification{_suffix}'] = task(
        f'classification, {_images * 90 // 64} images',
        'vit',
        [dict(key='accuracy/top1', title='top-1')],
        150,
        {'param_scheduler.end': 150, 'param_scheduler.warmup': 15},
        {'train_dataloader.dataset.fraction': 0.03 * _images / 64},
        test=False,
    )
    tasks[f'detection{_suffix}'] = task(
        f'detection, {_images} images',
        'maskrcnn',
        [
            dict(key='coco/bbox_mAP', title='box AP', scale=100.0),
            dict(key='coco/segm_mAP', title='mask AP', scale=100.0),
        ],
        180,
        {
            'param_scheduler.CosineAnnealingLR.end': 180,
            'param_scheduler.CosineAnnealingLR.T_max': 150,
        },
        {'train_dataloader.dataset.indices': _images},
        test=False,
    )
    tasks[f'segmentation{_suffix}'] = task(
        f'segmentation, {_images} images',
        'upernet',
        [dict(key='mIoU', title='mIoU')],
        100,
        {'param_scheduler.PolyLR.end': 100},
        {'train_dataloader.dataset.indices': _images},
        test=False,
    )
tasks['tracking'] = task(
    'tracking',
    'ostrack',
    [
        dict(key='success', title='AUC'),
        dict(key='precision', title='P'),
        dict(key='norm_precision', title='P_norm'),
    ],
    500,
    {'default_hooks.elimination.begin': 180, 'default_hooks.elimination.end': 300},
)

_photographs = 'stampworld/coco/train2017'  # 1024 that no pre-training has seen
_compared = dict(images=_photographs, options=dict(limit=1024, batch_size=128, size=64))
analyses = {
    f'cka_{_name}': dict(
        title=f'CKA of {_name} and the supervised network',
        tool='cka',
        models=[_name, 'supervised'],
        **_compared,
    )
    for _name in ('mae', 'dmae', 'dmae_dinov2', 'd2mae_dinov2')
}
analyses['attention'] = dict(
    title='Attention distance and entropy',
    tool='attention_stats',
    models=['supervised', 'mae', 'dmae', 'dmae_dinov2', 'd2mae_dinov2'],
    **_compared,
)

_kinds = {'classification': ('accuracy/top1', 1), 'detection': ('coco/bbox_mAP', 100)}
_kinds['segmentation'] = ('mIoU', 1)


def curves(title, xlabel, lines):
    """Return the picture of each task's leading figure; ``lines`` maps a task to its points."""
    panels = [
        dict(title=f'{task}, {key.split("/")[-1]}', metric=key, scale=scale, lines=lines(task))
        for task, (key, scale) in _kinds.items()
    ]
    draw = 'lightvit_dense.suite.pictures:curves'
    return dict(title=title, draw=draw, options=dict(panels=panels, xlabel=xlabel))


_compared_inits = dict(scratch='from scratch', mae='MAE', dmae_dinov2='D-MAE, DINOv2-S')
pictures = dict(
    labels=curves(
        'Gains against labels',
        'labels: times 90 to classify, 64 images to detect and segment in',
        lambda task: {
            title: [(images // 64, init, task + suffix) for suffix, images in _labels.items()]
            for init, title in _compared_inits.items()
        },
    ),
    iterations=curves(
        'Gains against iterations of pre-training',
        'iterations of pre-training',
        lambda task: {
            title: [
                (iters, f'{init}_{iters}' if init != 'scratch' and iters < 3200 else init, task)
                for iters in (200, 800, 3200)
            ]
            for init, title in _compared_inits.items()
        },
    ),
)

_first, _second = 'arXiv 2205.14443', 'arXiv 2404.12210'


def at_least(title, init, base, source):
    """Return the finding that an initialisation is at least as good as others."""
    return dict(type='at_least', title=title, init=init, base=base, source=source)


findings = [
    at_least('MAE is at least as good as no pre-training', 'mae', 'scratch', _first),
    at_least('D-MAE is at least as good as MAE', 'dmae_dinov2', 'mae', _first),
    at_least('D²-MAE is at least as good as D-MAE', 'd2mae_dinov2', 'dmae_dinov2', _second),
    at_least('A teacher that knows more teaches more', 'dmae_dinov2', 'dmae', 'ours'),
    at_least(
        'Logits standardised by head teach more than raw ones',
        'dmae_dinov2_800',
        'dmae_dinov2_raw_800',
        'ours',
    ),
    dict(
        type='ordering',
        title='Longer pre-training by D-MAE gains more',
        source='ours',
        inits=['dmae_dinov2_200', 'dmae_dinov2_800', 'dmae_dinov2'],
        tasks=_first_labels,
    ),
    dict(
        type='compare_analysis',
        title='Distillation makes upper layers more like those of a supervised network',
        source=f'{_first}, figure 6',
        left=dict(analysis='cka_dmae_dinov2', quantity='cka'),
        right=dict(analysis='cka_mae'),
        relation='>',
        margin=0.02,
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
]
