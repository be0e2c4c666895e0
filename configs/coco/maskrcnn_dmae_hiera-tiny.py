"""Mask R-CNN, Hiera-Tiny from D-MAE, COCO 2017, 640 px, 100 epochs.

What      The recipe of `maskrcnn_dmae_tiny.py` on Hiera-Tiny, whose own maps at strides 4 to 32 feed a
          feature pyramid. Attention is Hiera's: inside 32-px units in the first two stages, global
          in the others.
Source    The pre-training is the authors'; they publish no detector for Hiera-Tiny. The pyramid is
          Lin et al.'s (2017) with LN; heads and schedule are those of ViT-Tiny.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/coco/maskrcnn_dmae_hiera-tiny.py 8 --amp
"""

_base_ = [
    '../_base_/models/maskrcnn_vitdet_tiny.py',
    '../_base_/datasets/coco_lsj_640.py',
    '../_base_/schedules/vitdet_100e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmdet'

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_dense.Hiera',
        arch='tiny',
        img_size=224,  # the grid of the position table; resized to the image's
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/dmae_hiera-tiny/backbone.safetensors',
        ),
    ),
    neck=dict(
        _delete_=True,
        type='mmdet.FPN',
        in_channels=[46, 92, 184, 368],
        out_channels=256,
        norm_cfg=_base_.norm_cfg,
        num_outs=5,
    ),
)
engine = dict(activation_checkpointing=True, gradient_compression='fp16')
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=5000, by_epoch=False, save_best='coco/bbox_mAP', rule='greater'),
    visualization=dict(type='mmdet.DetVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='mmdet.DetLocalVisualizer')
