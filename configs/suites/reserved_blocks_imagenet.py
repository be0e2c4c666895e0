"""How many leading blocks of a pre-trained ViT-Tiny are worth keeping on ImageNet?

What      100 epochs of fine-tuning with the embedding and the first K of twelve blocks of MAE,
          MoCo-v3 and D-MAE; the other blocks start at random.
Source    Wang et al., arXiv 2205.14443, section 4.
Data      ImageNet-1k below $LIGHTVIT_DATA, and MAE's ViT-Base as D-MAE's teacher.
Cost      Not run by us. Three pre-trainings and 22 runs of 100 epochs of ImageNet.
Run       tools/run_benchmark.py configs/suites/reserved_blocks_imagenet.py --gpus 0 1 2 3 \
          --gpus-per-job 0
"""

name = 'reserved_blocks_imagenet'
title = 'Leading blocks kept, on ImageNet'
seeds = [0]

pretrains = dict(
    mae=dict(title='MAE', config='configs/pretrain/mae_vit-tiny.py'),
    mocov3=dict(title='MoCo-v3', config='configs/pretrain/mocov3_vit-tiny.py'),
    dmae=dict(title='D-MAE', config='configs/pretrain/dmae_vit-tiny.py'),
)
inits = dict(
    scratch=dict(title='from scratch'),
    mae=dict(title='MAE', pretrain='mae'),
    mocov3=dict(title='MoCo-v3', pretrain='mocov3'),
    dmae=dict(title='D-MAE', pretrain='dmae'),
)
sweep = dict(
    key='model.backbone.init_cfg.num_pretrained_blocks',
    values=[0, 2, 4, 6, 8, 10, 12],
    title='blocks kept:',
)
tasks = dict(
    imagenet=dict(
        title='ImageNet-1k',
        configs=dict(default='configs/imagenet/finetune_mae_vit-tiny_100e.py'),
        test=False,
        metrics=[dict(key='accuracy/top1', title='top-1')],
    ),
)
