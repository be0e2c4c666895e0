"""Mask R-CNN on the toy world; a leaf may name a checkpoint."""

_base_ = [
    '../models/maskrcnn_vitdet_tiny.py',
    '../datasets/coco_lsj_640.py',
    '../schedules/vitdet_100e.py',
    '../default_runtime.py',
]
default_scope = 'mmdet'

image_size = (128, 128)
channels = 64
num_classes = 6
model = dict(
    pad_shape=128,
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        img_size=128,
        patch_size=8,
        window=dict(size=8, global_blocks=(2, 5)),
        rel_pos=dict(size=128),
    ),
    neck=dict(in_channels=128, out_channels=channels, scale_factors=(2, 1, 0.5)),
    rpn_head=dict(
        num_convs=1,
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=28,
        ),
        bbox_head=dict(
            type='mmdet.ConvFCBBoxHead',  # whose initial values learn sooner than detectron2's
            num_shared_convs=1,
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=256,
            num_classes=num_classes,
        ),
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=28,
        ),
        mask_head=dict(
            type='mmdet.FCNMaskHead',
            num_convs=1,
            in_channels=channels,
            conv_out_channels=channels,
            num_classes=num_classes,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=200)),
)

data_root = '{{$LIGHTVIT_DATA:data}}/toyworld/coco/'
metainfo = dict(
    classes=(
        'bottle',
        'book',
        'soap',
        'scissors',
        'mousetrap',
        'flower',
    )
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,  # as quick to load as to hand over
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True, min_size=16),
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='lightvit_dense.ResizeScale', scale=image_size, ratio_range=(0.7, 1.4)),
            dict(
                type='lightvit_dense.FixedSizeCrop',
                crop_size=image_size,
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False),
            dict(type='lightvit_dense.PackDetection'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='mmdet.Resize', scale=image_size, keep_ratio=True, backend='pillow'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='mmdet.PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

max_iters, warmup = 360, 30
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
    dict(
        type='mmengine.CosineAnnealingLR',
        by_epoch=False,
        begin=warmup,
        end=max_iters,
        T_max=max_iters - warmup,
        eta_min=0.0,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=180, dynamic_intervals=[])
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(interval=180, by_epoch=False, max_keep_ckpts=1),
    visualization=dict(type='mmdet.DetVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='mmdet.DetLocalVisualizer')
randomness = dict(seed=0)
