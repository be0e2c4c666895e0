"""MoCo-v3-Tiny: ViT-Tiny pre-trained on ImageNet-1k by contrast for 400 epochs.

What      Two views, a momentum encoder from 0.99 to 1, temperature 0.2; batch 1024.
Source    The authors' MoCo-v3 configuration: the patch embedding is trained, every parameter
          decays.
Expected  76.8% ImageNet-1k top-1 after 300 epochs of fine-tuning with layer decay 0.75 (paper). Not
          run by us.
Cost      52 hours on 8 V100 (paper).
Run       tools/dist_train.sh configs/pretrain/mocov3_vit-tiny.py 8 --amp \
          --work-dir work_dirs/mocov3_vit-tiny
"""

_base_ = [
    '../_base_/models/mocov3_vit-tiny.py',
    '../_base_/datasets/imagenet_two_views.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

sync_bn = 'torch'
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    # 1.5e-4 for 256 images, linear: 1.5e-4 * 1024 / 256
    optimizer=dict(type='AdamW', lr=6e-4, weight_decay=0.1),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR',
    warmup=40,
    start_factor=1e-6 / 6e-4,  # from 1e-6
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=400)
auto_scale_lr = dict(base_batch_size=1024)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.MomentumUpdateHook', base=0.99),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
