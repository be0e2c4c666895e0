"""Which layer to distil? The first paper's figure 7 in small, on Fashion-MNIST.

What      D-MAE from one teacher, with the attention of layer 2, 4 or 6 (the last), or of all three
          followed; MAE without a teacher beside them. 500 iterations of pre-training each, then
          fine-tuning with 1% of the labels, three seeds.
Source    Ours; arXiv 2205.14443, figure 7, asks the same of ViT-Tiny on ImageNet.
Data      tools/dataset_converters/make_small_sets.py
Cost      Twenty minutes of a CPU core.
Run       tools/run_benchmark.py configs/suites/distilled_layers.py --jobs 2
"""

name = 'distilled_layers'
title = 'Which layers to distil, on Fashion-MNIST with 1% of the labels'
seeds = [0, 1, 2]

_short = {'train_cfg.max_iters': 500, 'param_scheduler.end': 500, 'param_scheduler.warmup': 25}
_needs = {'model.distiller.teacher.init_cfg.checkpoint': 'teacher'}
_dmae = dict(config='configs/toyworld/small_sets/dmae.py', needs=_needs)
pretrains = dict(
    teacher=dict(
        title='MAE, teacher', config='configs/toyworld/small_sets/mae_teacher.py', options=_short
    ),
    mae=dict(title='MAE', config='configs/toyworld/small_sets/mae.py', options=_short),
    layer2=dict(
        title='D-MAE, layer 2', options=_short | {'model.distiller.pairs': [(2, 2)]}, **_dmae
    ),
    layer4=dict(
        title='D-MAE, layer 4', options=_short | {'model.distiller.pairs': [(4, 4)]}, **_dmae
    ),
    layer6=dict(title='D-MAE, layer 6', options=_short, **_dmae),
    all=dict(
        title='D-MAE, layers 2, 4, 6',
        options=_short
        | {
            'model.distiller.pairs': [(2, 2), (4, 4), (6, 6)],
            'model.distiller.loss_weight': 1 / 3,  # the mean of the three
        },
        **_dmae,
    ),
)
inits = dict(
    mae=dict(title='MAE', pretrain='mae'),
    layer2=dict(title='D-MAE, layer 2', pretrain='layer2'),
    layer4=dict(title='D-MAE, layer 4', pretrain='layer4'),
    layer6=dict(title='D-MAE, layer 6 (last)', pretrain='layer6'),
    all=dict(title='D-MAE, layers 2, 4, 6', pretrain='all'),
)
tasks = dict(
    fashion=dict(
        title='Fashion-MNIST, 1% of labels',
        configs=dict(default='configs/toyworld/small_sets/finetune.py'),
        options={'train_dataloader.dataset.fraction': 0.01},
        seed_keys=['randomness.seed', 'train_dataloader.dataset.subset_seed'],
        test=False,
        metrics=[dict(key='accuracy/top1', title='top-1')],
    ),
)
findings = [
    dict(
        type='ordering',
        title='Distilling the last layer alone beats lower layers',
        source='arXiv 2205.14443, figure 7',
        inits=['layer2', 'layer4', 'layer6'],
        tasks=['fashion'],
    ),
]
