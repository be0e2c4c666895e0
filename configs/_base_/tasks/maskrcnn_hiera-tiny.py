"""Mask R-CNN on Hiera-Tiny, COCO 2017, 640 px, 100 epochs; a leaf names the checkpoint."""

_base_ = './maskrcnn_tiny.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='lightvit_dense.Hiera',
        arch='tiny',
        img_size=224,  # the grid of the position table; resized to the image's
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        init_cfg=dict(type='lightvit_dense.PretrainedBackbone'),
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
