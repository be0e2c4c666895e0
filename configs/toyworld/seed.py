"""A small convolutional network for the toy world, taught by SEED on its unlabelled images.

What      The SEED recipe made small: timm's smallest EfficientNet follows the mean of the patches
          of `mae_teacher.py`'s network; views of 64 px, a queue of 1024.
Source    Ours.
Run       tools/train.py configs/toyworld/seed.py
"""

_base_ = [
    '../_base_/datasets/toyworld_pretrain.py',
    '../_base_/schedules/toyworld_pretrain.py',
    '../_base_/toyworld_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    type='lightvit_dense.SEED',
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(type='lightvit_dense.TimmBackbone', name='test_efficientnet'),
    teacher=dict(
        type='lightvit_dense.EmbeddingTeacher',
        backbone=dict(
            type='lightvit_dense.VisionTransformer',
            arch=dict(embed_dim=192, depth=6, num_heads=6),
            img_size=64,
            patch_size=8,
            pos_embed='sincos',
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='work_dirs/mae_teacher/backbone.safetensors',
            ),
        ),
    ),
    queue_size=1024,
)
auto_scale_lr = dict(base_batch_size=128)
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
