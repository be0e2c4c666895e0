"""The second paper: MAE, D-MAE and D²-MAE on ImageNet, COCO, ADE20K and LaSOT.

What      ViT-Tiny from scratch, DeiT, MAE, D-MAE and D²-MAE; with relative positions after 1000
          epochs of fine-tuning; Hiera-Tiny from MAE and D-MAE; Swin-Tiny from SimMIM and D²-SimMIM.
          ImageNet-1k top-1, Mask R-CNN (ViTDet, 640 px), Semantic FPN, OSTrack-256. Layers are
          compared with DeiT's by CKA.
Source    Gao et al., arXiv 2404.12210, and the documentation of its code. Of BEiT, BootMAE
          and MaskFeat no recipe is published. With Hiera-Tiny and Swin-Tiny nothing but ImageNet is
          published; their other cells are ours. So is much of what has no figure of the paper
          beside it.
          D²-MAE with relative positions is fine-tuned twice: its figure on ImageNet is one run, the
          start of ADE20K another. The supervised one starts from the authors' file, which its
          config names.
Data      ImageNet-1k, COCO 2017, ADE20K, LaSOT, GOT-10k and TrackingNet below $LIGHTVIT_DATA, and
          the teachers (MAE's ViT-Base, Hiera-Base), see docs/data.md.
Cost      Not run by us. Seven pre-trainings of 400 epochs, one of 800 and one supervised of
          300. One seed, as in the paper.
Run       tools/run_benchmark.py configs/suites/paper2.py --gpus 0 1 2 3 --gpus-per-job 0
"""

name = 'paper2'
title = "Distilled masked pre-training of small networks: the second paper's tasks"
seeds = [0]

pretrains = dict(
    deit=dict(title='DeiT', config='configs/imagenet/deit_vit-tiny_improved_300e.py'),
    mae=dict(title='MAE', config='configs/pretrain/mae_vit-tiny.py'),
    dmae=dict(title='D-MAE', config='configs/pretrain/dmae_vit-tiny.py'),
    d2mae=dict(title='D²-MAE', config='configs/pretrain/d2mae_vit-tiny.py'),
    d2mae_rpe=dict(
        title='D²-MAE + RPE, fine-tuned for 1000 epochs',
        config='configs/imagenet/finetune_d2mae_vit-tiny-rpe_1000e.py',
        needs={'model.backbone.init_cfg.checkpoint': 'd2mae'},
    ),
    hiera_mae=dict(title='MAE, Hiera-Tiny', config='configs/pretrain/mae_hiera-tiny.py'),
    hiera_dmae=dict(title='D-MAE, Hiera-Tiny', config='configs/pretrain/dmae_hiera-tiny.py'),
    swin_simmim=dict(title='SimMIM, Swin-Tiny', config='configs/pretrain/simmim_swin-tiny.py'),
    swin_teacher=dict(title='SimMIM, Swin-Small', config='configs/pretrain/simmim_swin-small.py'),
    swin_d2simmim=dict(
        title='D²-SimMIM, Swin-Tiny',
        config='configs/pretrain/d2simmim_swin-tiny.py',
        needs={'model.distiller.teacher.init_cfg.checkpoint': 'swin_teacher'},
    ),
)
inits = dict(
    scratch=dict(title='from scratch'),
    deit=dict(title='DeiT (supervised)', pretrain='deit'),
    mae=dict(title='MAE', pretrain='mae'),
    dmae=dict(title='D-MAE', pretrain='dmae'),
    d2mae=dict(title='D²-MAE', pretrain='d2mae'),
    deit_rpe_1000e=dict(title='supervised + RPE, 1000 epochs'),
    mae_rpe_1000e=dict(title='MAE + RPE, 1000 epochs', pretrain='mae'),
    d2mae_rpe_1000e=dict(
        title='D²-MAE + RPE, 1000 epochs', pretrain=dict(default='d2mae', scenes='d2mae_rpe')
    ),
    hiera_mae=dict(title='Hiera-Tiny, MAE', pretrain='hiera_mae'),
    hiera_dmae=dict(title='Hiera-Tiny, D-MAE', pretrain='hiera_dmae'),
    swin_simmim=dict(title='Swin-Tiny, SimMIM', pretrain='swin_simmim'),
    swin_d2simmim=dict(title='Swin-Tiny, D²-SimMIM', pretrain='swin_d2simmim'),
)
tasks = dict(
    imagenet=dict(
        title='ImageNet-1k',
        configs=dict(
            scratch='configs/imagenet/deit_vit-tiny_improved_300e.py',
            mae='configs/imagenet/finetune_mae_vit-tiny_300e.py',
            dmae='configs/imagenet/finetune_dmae_vit-tiny_300e.py',
            d2mae='configs/imagenet/finetune_d2mae_vit-tiny_300e.py',
            mae_rpe_1000e='configs/imagenet/finetune_mae_vit-tiny-rpe_1000e.py',
            d2mae_rpe_1000e='configs/imagenet/finetune_d2mae_vit-tiny-rpe_1000e.py',
            hiera_mae='configs/imagenet/finetune_mae_hiera-tiny_300e.py',
            hiera_dmae='configs/imagenet/finetune_dmae_hiera-tiny_300e.py',
            swin_simmim='configs/imagenet/finetune_simmim_swin-tiny_300e.py',
            swin_d2simmim='configs/imagenet/finetune_d2simmim_swin-tiny_300e.py',
        ),
        metrics=[dict(key='accuracy/top1', title='top-1')],
    ),
    coco=dict(
        title='COCO',
        configs=dict(
            scratch='configs/coco/maskrcnn_scratch_tiny.py',
            deit='configs/coco/maskrcnn_deit_tiny.py',
            mae='configs/coco/maskrcnn_mae_tiny.py',
            dmae='configs/coco/maskrcnn_dmae_tiny.py',
            d2mae='configs/coco/maskrcnn_d2mae_tiny.py',
            hiera_mae='configs/coco/maskrcnn_mae_hiera-tiny.py',
            hiera_dmae='configs/coco/maskrcnn_dmae_hiera-tiny.py',
            swin_simmim='configs/coco/maskrcnn_simmim_swin-tiny.py',
            swin_d2simmim='configs/coco/maskrcnn_d2simmim_swin-tiny.py',
        ),
        metrics=[
            dict(key='coco/bbox_mAP', title='box AP', scale=100.0),
            dict(key='coco/segm_mAP', title='mask AP', scale=100.0),
        ],
    ),
    ade20k=dict(
        title='ADE20K',
        domain='scenes',
        configs=dict(
            scratch='configs/ade20k/semfpn_scratch_tiny.py',
            deit='configs/ade20k/semfpn_deit_tiny.py',
            mae='configs/ade20k/semfpn_mae_tiny.py',
            dmae='configs/ade20k/semfpn_dmae_tiny.py',
            d2mae='configs/ade20k/semfpn_d2mae_tiny.py',
            deit_rpe_1000e='configs/ade20k/semfpn_deit-ft-rpe_tiny.py',
            d2mae_rpe_1000e='configs/ade20k/semfpn_d2mae-ft-rpe_tiny.py',
            hiera_dmae='configs/ade20k/semfpn_dmae_hiera-tiny.py',
        ),
        metrics=[dict(key='mIoU', title='mIoU')],
    ),
    lasot=dict(
        title='LaSOT',
        configs=dict(
            scratch='configs/lasot/ostrack256_scratch_tiny.py',
            deit='configs/lasot/ostrack256_deit_tiny.py',
            mae='configs/lasot/ostrack256_mae_tiny.py',
            dmae='configs/lasot/ostrack256_dmae_tiny.py',
            d2mae='configs/lasot/ostrack256_d2mae_tiny.py',
            hiera_dmae='configs/lasot/ostrack256_dmae_hiera-tiny.py',
        ),
        metrics=[
            dict(key='success', title='AUC'),
            dict(key='precision', title='P'),
            dict(key='norm_precision', title='P_norm'),
        ],
    ),
)
analyses = dict(
    cka_mae=dict(
        title='CKA of MAE and DeiT', tool='cka', models=['mae', 'deit'], images='imagenet/val'
    ),
    cka_dmae=dict(
        title='CKA of D-MAE and DeiT', tool='cka', models=['dmae', 'deit'], images='imagenet/val'
    ),
    cka_d2mae=dict(
        title='CKA of D²-MAE and DeiT', tool='cka', models=['d2mae', 'deit'], images='imagenet/val'
    ),
    attention=dict(
        title='Attention distance and entropy',
        tool='attention_stats',
        models=['deit', 'mae', 'dmae', 'd2mae'],
        images='imagenet/val',
    ),
)
paper = dict(tables=['imagenet_code', 'coco_code', 'ade20k_code', 'lasot_code', 'transfer'])
_second = 'Gao et al., arXiv 2404.12210'
findings = [
    dict(
        type='at_least',
        title='Distillation improves MAE on every task',
        source=_second,
        init='dmae',
        base='mae',
    ),
    dict(
        type='at_least',
        title='Decoupling improves distillation on every task',
        source=_second,
        init='d2mae',
        base='dmae',
    ),
    dict(
        type='at_least',
        title='Distillation improves MAE on Hiera-Tiny, too',
        source=_second,
        init='hiera_dmae',
        base='hiera_mae',
        tasks=['imagenet'],
    ),
    dict(
        type='at_least',
        title='Decoupled distillation improves SimMIM on Swin-Tiny, too',
        source=_second,
        init='swin_d2simmim',
        base='swin_simmim',
        tasks=['imagenet'],
    ),
    dict(
        type='compare_analysis',
        title='Distillation makes upper layers more like those of a supervised network',
        source=_second,
        left=dict(analysis='cka_dmae', quantity='cka'),
        right=dict(analysis='cka_mae'),
        relation='>',
        margin=0.02,
    ),
    dict(
        type='compare_analysis',
        title="MAE's upper layers are local",
        source=f'{_second}, figure 5',
        left=dict(analysis='attention', quantity='distance', model='mae'),
        right=[dict(layers='lower'), dict(model='deit')],
        margin=0.05,
        relative=True,
    ),
    dict(
        type='compare_analysis',
        title="MAE's upper layers have low entropy",
        source=f'{_second}, figure 5',
        left=dict(analysis='attention', quantity='entropy', model='mae'),
        right=[dict(layers='lower'), dict(model='deit')],
        margin=0.05,
        relative=True,
    ),
]
