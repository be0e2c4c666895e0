"""MAE-Tiny: ViT-Tiny pre-trained on ImageNet-1k for 400 epochs.

What      MAE with 75% masking and a one-block decoder; batch 4096.
Source    The authors' MAE-Tiny configuration.
Expected  78.0% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      23 hours on 8 V100 (paper).
Run       tools/dist_train.sh configs/pretrain/mae_vit-tiny.py 8 --amp \
          --work-dir work_dirs/mae_vit-tiny
"""

_base_ = [
    '../_base_/models/mae_vit-tiny.py',
    '../_base_/datasets/imagenet_pretrain.py',
    '../_base_/schedules/pretrain_400e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=2000),
    dict(type='lightvit_dense.ExportBackboneHook'),
]
