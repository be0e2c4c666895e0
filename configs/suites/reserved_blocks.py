"""How many leading blocks of a pre-trained network are worth keeping?

What      Fine-tuning with the embedding and the first K blocks of a network pre-trained by MAE or
          D-MAE; the other blocks start at random. 1% of Fashion-MNIST's labels, three seeds.
Source    arXiv 2205.14443, section 4, asks it of ViT-Tiny on ImageNet: `reserved_blocks_imagenet`.
Data      tools/dataset_converters/make_small_sets.py
Cost      Forty minutes of two CPU cores.
Run       tools/run_benchmark.py configs/suites/reserved_blocks.py --jobs 2
          Other networks, other numbers of blocks:
          --cfg-options inits.mine.checkpoint=FILE sweep.values=0,3,6
"""

name = 'reserved_blocks'
title = 'Leading blocks kept, on Fashion-MNIST with 1% of the labels'
seeds = [0, 1, 2]

pretrains = dict(
    teacher=dict(title='MAE, teacher', config='configs/toyworld/small_sets/mae_teacher.py'),
    mae=dict(title='MAE', config='configs/toyworld/small_sets/mae.py'),
    dmae=dict(
        title='D-MAE',
        config='configs/toyworld/small_sets/dmae.py',
        needs={'model.distiller.teacher.init_cfg.checkpoint': 'teacher'},
    ),
)
inits = dict(
    scratch=dict(title='from scratch'),
    mae=dict(title='MAE', pretrain='mae'),
    dmae=dict(title='D-MAE', pretrain='dmae'),
)
sweep = dict(
    key='model.backbone.init_cfg.num_pretrained_blocks',
    values=[0, 1, 2, 3, 4, 5, 6],  # 0 keeps the embedding only
    title='blocks kept:',
)
tasks = dict(
    fashion=dict(
        title='Fashion-MNIST, 1% of labels',
        configs=dict(
            scratch='configs/toyworld/small_sets/scratch.py',
            default='configs/toyworld/small_sets/finetune.py',
        ),
        options={'train_dataloader.dataset.fraction': 0.01},
        seed_keys=['randomness.seed', 'train_dataloader.dataset.subset_seed'],
        test=False,
        metrics=[dict(key='accuracy/top1', title='top-1')],
    ),
)
