"""Mask R-CNN on ViT-Tiny, COCO 2017, 640 px, 100 epochs; a leaf names the checkpoint."""

_base_ = [
    '../models/maskrcnn_vitdet_tiny.py',
    '../datasets/coco_lsj_640.py',
    '../schedules/vitdet_100e.py',
    '../default_runtime.py',
]
default_scope = 'mmdet'

model = dict(backbone=dict(init_cfg=dict(type='lightvit_dense.PretrainedBackbone')))
engine = dict(activation_checkpointing=True, gradient_compression='bf16')
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=5000, by_epoch=False, save_best='coco/bbox_mAP', rule='greater'),
    visualization=dict(type='mmdet.DetVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='mmdet.DetLocalVisualizer')
