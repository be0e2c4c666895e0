"""SimMIM-Tiny: ViT-Tiny pre-trained on ImageNet-1k by SimMIM for 400 epochs.

What      60% of the 32-px squares masked, one linear layer predicts pixels, L1; batch 2048.
Source    ICML paper for the result; it does not publish this recipe. Stand-ins: the official SimMIM
          configuration of ViT-Base, with half its epochs and the step of the learning rate at the
          same share of them. Its relative positions and LayerScale are left out: positions are
          fixed sine-cosine ones, as in the paper's MAE.
Expected  77.9% ImageNet-1k top-1 after fine-tuning (paper). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/simmim_vit-tiny.py 8 --amp \
          --work-dir work_dirs/simmim_vit-tiny
"""

_base_ = [
    '../_base_/models/simmim_vit-tiny.py',
    '../_base_/datasets/imagenet_pretrain.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

train_dataloader = dict(
    batch_size=256,  # x 8 GPUs = 2048
    dataset=dict(
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.67, 1.0),
                interpolation='bilinear',
                max_bad=10,
                exif=False,
            ),
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ]
    ),
)
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    # 1e-4 for 512 images, linear: 1e-4 * 2048 / 512
    optimizer=dict(type='AdamW', lr=4e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(mask_token=dict(decay_mult=0.0), cls_token=dict(decay_mult=0.0)),
    ),
)
param_scheduler = [
    dict(
        type='mmengine.LinearLR',
        start_factor=5e-3,  # from 2e-6
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='mmengine.MultiStepLR',
        milestones=[350],
        gamma=0.1,
        by_epoch=True,
        begin=0,
        end=400,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=400)
auto_scale_lr = dict(base_batch_size=2048)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=2000),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
