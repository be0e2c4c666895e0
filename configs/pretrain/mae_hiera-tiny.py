"""MAE on Hiera-Tiny, pre-trained on ImageNet-1k for 400 epochs.

What      Hiera's MAE with 40% of the 32-px units hidden and a one-block decoder; batch 4096. This
          Hiera-Tiny is the papers' (6.7 M parameters with a head), not Meta's (27.9 M).
Source    The authors' Hiera configuration; schedule and augmentation are MAE-Tiny's.
Expected  78.5% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      Not published and not measured.
Run       tools/dist_train.sh configs/pretrain/mae_hiera-tiny.py 8 --amp
"""

_base_ = [
    '../_base_/models/mae_hiera-tiny.py',
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
