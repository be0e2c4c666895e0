"""DINO-Tiny: ViT-Tiny pre-trained on ImageNet-1k by self-distillation for 400 epochs.

What      2 global and 8 local crops, 65536 prototypes, a momentum teacher from 0.996 to 1; batch
          1024. The teacher's backbone is exported.
Source    ICML paper for the result; it does not publish this recipe. Stand-ins: the defaults of the
          official DINO code, with the epochs of the paper's other methods. Gradients are clipped by
          their common norm; the official code clips each parameter's.
Expected  77.2% ImageNet-1k top-1 after fine-tuning (paper). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/dino_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dino_vit-tiny
"""

_base_ = [
    '../_base_/models/dino_vit-tiny.py',
    '../_base_/datasets/imagenet_multi_crop.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    # 5e-4 for 256 images, linear: 5e-4 * 1024 / 256
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.04),
    clip_grad=dict(max_norm=3.0),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='mmengine.LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='mmengine.CosineAnnealingLR',
        T_max=390,
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=400,
        convert_to_iter_based=True,
    ),
    # To 0.4. A ratio, unlike an end value, leaves what does not decay at 0.
    dict(
        type='mmengine.CosineAnnealingParamScheduler',
        param_name='weight_decay',
        eta_min_ratio=10.0,
        T_max=400,
        by_epoch=True,
        begin=0,
        end=400,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=400)
auto_scale_lr = dict(base_batch_size=1024)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.MomentumUpdateHook', base=0.996),
    dict(type='lightvit_dense.FreezeLastLayerHook', until=1),
    dict(type='lightvit_dense.ExportBackboneHook', module='momentum_backbone'),
]
