"""Hiera-Tiny, fine-tuned from MAE by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` with Hiera-Tiny; layer decay counts its 12 blocks.
Source    The authors' improved fine-tuning recipe; the file that they name for Hiera is not published.
Expected  78.5% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_mae_hiera-tiny_300e.py 8 --amp
"""

_base_ = [
    '../_base_/models/hiera-tiny_cls.py',
    '../_base_/datasets/imagenet_train_improved.py',
    '../_base_/datasets/imagenet_val.py',
    '../_base_/schedules/finetune_300e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

model = dict(
    data_preprocessor=dict(mixup=0.2),
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/mae_hiera-tiny/backbone.safetensors',
        ),
    ),
)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [*_base_.custom_hooks, dict(type='lightvit_dense.ExportBackboneHook')]
