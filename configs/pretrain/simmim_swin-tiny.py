"""SimMIM on Swin-Tiny (width 48), pre-trained on ImageNet-1k for 400 epochs.

What      60% of the 32-px squares are replaced by a token; a linear layer, a Swin block and a 1x1
          convolution predict pixels, L1; batch 2048.
Source    The authors' SimMIM configuration; arXiv 2404.12210. Its rate drops at epoch 700, which
          400 epochs do not reach: it is constant after the warm-up. Tables of relative positions
          and the mask token are decayed, as theirs are here.
Expected  77.4% ImageNet-1k top-1 after fine-tuning (paper). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/simmim_swin-tiny.py 8 --amp \
          --work-dir work_dirs/simmim_swin-tiny
"""

_base_ = [
    '../_base_/models/simmim_swin-tiny.py',
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
                interpolation='random',
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
    optimizer=dict(type='AdamW', lr=4e-4, betas=(0.9, 0.99), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='lightvit_dense.WarmupCosineLR',
    warmup=10,
    start_factor=5e-3,  # from 2e-6
    eta_min_ratio=1.0,  # constant after the warm-up
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=400)
auto_scale_lr = dict(base_batch_size=2048)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=2000),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
