"""OSTrack-256 on ViT-Tiny from D-MAE, 300 epochs on four data sets; tested on LaSOT.

What      One-stream tracking (Ye et al. 2022) with candidate elimination on ViT-Tiny with 12 heads, 128
          pairs a step, 140 400 iterations. The template is never renewed.
Source    arXiv 2404.12210; the authors' configuration of OSTrack.
Expected  LaSOT AUC 65.8 (paper). Not run by us: it takes 4 GPUs and four data sets.
Cost      4 GPUs; not known further.
Run       tools/dist_train.sh configs/lasot/ostrack256_dmae_tiny.py 4
"""

_base_ = [
    '../_base_/models/ostrack256_vit-tiny.py',
    '../_base_/datasets/tracking_pairs.py',
    '../_base_/schedules/ostrack_300e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'
custom_imports = dict(imports=['lightvit_dense', 'tracking'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors',
        )
    )
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='tracking.EliminationScheduleHook', begin=20, end=100),
]
default_hooks = dict(checkpoint=dict(interval=10, save_best='IoU', rule='greater'))
visualization_hook = dict(type='tracking.FilmStripHook')

expected = [('success', 65.8, 0.7)]
