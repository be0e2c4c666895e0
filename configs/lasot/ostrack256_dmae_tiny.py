"""OSTrack-256 on ViT-Tiny from D-MAE, 300 epochs on four data sets; tested on LaSOT.

What      One-stream tracking (Ye et al. 2022) with candidate elimination on ViT-Tiny with 12 heads,
          128 pairs a step, 140 400 iterations. The template is never renewed.
Source    arXiv 2404.12210; the authors' configuration of OSTrack.
Expected  LaSOT AUC 65.8 (paper). Not run by us: it takes 4 GPUs and four data sets.
Cost      4 GPUs; not known further.
Run       tools/dist_train.sh configs/lasot/ostrack256_dmae_tiny.py 4
"""

_base_ = '../_base_/tasks/ostrack256_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)

expected = [('success', 65.8, 0.7)]
