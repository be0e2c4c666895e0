"""SimMIM on the papers' Swin-Small (width 96), the teacher of `d2simmim_swin-tiny.py`, 800 epochs.

What      `simmim_swin-tiny.py` with twice the width, which is the original Swin-T, and the original
          SimMIM's decoder: a 1x1 convolution behind the final norm. The rate drops at epoch 700.
Source    The authors' code has this model, and their teacher's file is called `swin_small_800e`;
          how they trained it is not published. Everything else is as for their student.
Expected  Not published; not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/simmim_swin-small.py 8 --amp \
          --work-dir work_dirs/simmim_swin-small
"""

_base_ = './simmim_swin-tiny.py'

model = dict(backbone=dict(arch='small', final_norm=True), decoder=None)
param_scheduler = [
    dict(
        type='lightvit_dense.WarmupCosineLR',
        warmup=10,
        start_factor=5e-3,
        eta_min_ratio=1.0,
        end=700,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='mmengine.MultiStepLR',
        milestones=[700],
        gamma=0.1,
        by_epoch=True,
        end=800,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=800)
