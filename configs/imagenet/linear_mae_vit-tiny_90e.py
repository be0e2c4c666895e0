"""Linear probe of MAE-Tiny: the backbone frozen, a BatchNorm and a linear layer on its class token.

What      LARS, lr 6.4 at batch 16384, 90 epochs, 10 of warm-up; crops and flips only. Another
          backbone: --cfg-options model.backbone.init_cfg.checkpoint=FILE. Features that are
          extracted once take minutes instead, see tools/analysis_tools/probe.py.
Source    MAE's linear probe, which the papers follow.
Expected  23.4% top-1 (paper). Not run by us.
Cost      Not known; 90 epochs of 1.28 million images without a backward pass.
Run       tools/dist_train.sh configs/imagenet/linear_mae_vit-tiny_90e.py 8 --amp
"""

_base_ = [
    '../_base_/models/vit-tiny_cls.py',
    '../_base_/datasets/imagenet_train.py',
    '../_base_/datasets/imagenet_val.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    freeze_backbone=True,
    backbone=dict(
        final_norm=True,
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_vit-tiny/backbone.safetensors',
        ),
    ),
    head=dict(pool='cls', norm=False, batch_norm=True, init_std=0.01),
)
train_dataloader = dict(
    batch_size=2048,  # x 8 GPUs = 16384
    dataset=dict(
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='bicubic',
                max_bad=10,
                exif=False,
            ),
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
val_dataloader = dict(batch_size=512)
test_dataloader = val_dataloader
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    # 0.1 for 256 images, linear: 0.1 * 16384 / 256
    optimizer=dict(type='lightvit_dense.LARS', lr=6.4, momentum=0.9, weight_decay=0.0),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR', warmup=10, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=10)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
auto_scale_lr = dict(base_batch_size=16384)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmengine.SyncBuffersHook'),  # of the BatchNorm, before it is validated
]
