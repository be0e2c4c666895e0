"""Mask R-CNN in the way of Li et al. 2021, ViT-Tiny from D-MAE, COCO 2017, 1024 px, 100 epochs.

What      Maps of four evenly spaced blocks (2, 5, 8, 11) made into strides 4 to 32 by transposed
          convolutions and pooling, a feature pyramid over them, batch norm in pyramid and heads;
          windows of 14 with four global blocks and relative positions; 1024 px; cosine schedule.
Source    The preprint of the ICML paper reports detection in this way; its appendix with the values
          is not published. Stand-ins: Li et al.'s architecture, with the decomposed relative
          positions of ViTDet, and the values they give for MAE ViT-Base (lr 8e-5, weight decay 0.1)
          but for drop path, which the authors set to 0 for ViT-Tiny.
Expected  box AP 42.7, mask AP 38.2 (paper). Not run by us: it takes 8 GPUs and COCO.
Cost      Not known; about 2.6 times the pixels of the 640-px recipe.
Run       tools/dist_train.sh configs/coco/maskrcnn-li2021_dmae_tiny.py 8 --amp
"""

_base_ = [
    '../_base_/models/maskrcnn_vitdet_tiny.py',
    '../_base_/datasets/coco_lsj_640.py',
    '../_base_/schedules/vitdet_100e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmdet'

image_size = (1024, 1024)
norm_cfg = dict(type='SyncBN', requires_grad=True)
max_iters = 184375  # 100 epochs of 118 000 images, 64 a step
model = dict(
    pad_shape=1024,
    backbone=dict(
        rel_pos=dict(size=1024),
        out_indices=(2, 5, 8, 11),
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors',
        ),
    ),
    neck=[
        dict(type='lightvit_dense.MultiDepthPyramid', in_channels=192),  # with group norm
        dict(
            type='mmdet.FPN',
            in_channels=[192, 192, 192, 192],
            out_channels=256,
            norm_cfg=norm_cfg,
            num_outs=5,
        ),
    ],
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='lightvit_dense.OpenImage', max_bad=10),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(
                type='lightvit_dense.ResizeScale',
                scale=image_size,
                ratio_range=(0.1, 2.0),
                backend='torch',
            ),
            dict(
                type='lightvit_dense.FixedSizeCrop',
                crop_size=image_size,
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(1e-5, 1e-5), keep_empty=False),
            dict(type='lightvit_dense.PackDetection'),
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='mmdet.Resize', scale=image_size, keep_ratio=True, backend='pillow'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='mmdet.PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ]
    )
)
test_dataloader = val_dataloader
optim_wrapper = dict(
    optimizer=dict(lr=8e-5, weight_decay=0.1),
    # Batch and group norms are in detectron2's list.
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, pos_embed=dict(decay_mult=0.0))),
)
param_scheduler = dict(
    _delete_=True,
    type='lightvit_dense.WarmupCosineLR',
    warmup=461,  # a quarter of an epoch
    start_factor=0.001,
    by_epoch=False,
)
engine = dict(activation_checkpointing=True, gradient_compression='bf16')
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(interval=5000, by_epoch=False, save_best='coco/bbox_mAP', rule='greater'),
    visualization=dict(type='mmdet.DetVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='mmdet.DetLocalVisualizer')

expected = [('coco/bbox_mAP', 0.427, 0.005), ('coco/segm_mAP', 0.382, 0.005)]
