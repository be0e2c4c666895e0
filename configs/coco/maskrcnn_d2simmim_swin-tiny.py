"""Mask R-CNN, Swin-Tiny (width 48) from D²-SimMIM, COCO 2017, 640 px, 100 epochs.

What      The recipe of `maskrcnn_dmae_tiny.py` on Swin-Tiny, whose own maps at strides 4 to 32, each
          with a LayerNorm, feed a feature pyramid. Windows of 7, shifted in every other block.
Source    Ours: the pre-training is the authors', they publish no detector for Swin. The pyramid is
          Lin et al.'s (2017) with LN, norms and decay are those of Swin's detectors; heads and
          schedule are those of ViT-Tiny.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/coco/maskrcnn_d2simmim_swin-tiny.py 8 --amp
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
        type='lightvit_dense.SwinTransformer',
        arch='tiny',
        img_size=640,  # windows are planned for it: four stages of several windows
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        stage_norms=True,
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/d2simmim_swin-tiny/backbone.safetensors',
        ),
    ),
    neck=dict(
        _delete_=True,
        type='mmdet.FPN',
        in_channels=[48, 96, 192, 384],
        out_channels=256,
        norm_cfg=_base_.norm_cfg,
        num_outs=5,
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)))
)
engine = dict(activation_checkpointing=True, gradient_compression='fp16')
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=5000, by_epoch=False, save_best='coco/bbox_mAP', rule='greater'),
    visualization=dict(type='mmdet.DetVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='mmdet.DetLocalVisualizer')
