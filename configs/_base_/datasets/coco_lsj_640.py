"""COCO 2017 instances, large-scale jittering (0.1-2.0) and crops of 640 px."""

data_root = '{{$LIGHTVIT_DATA:data}}/coco/'
dataset_type = 'lightvit_dense.CocoDataset'
image_size = (640, 640)

train_dataloader = dict(
    batch_size=8,  # x 8 GPUs = 64
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
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
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
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

val_evaluator = dict(
    type='lightvit_dense.CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
    backend='faster',  # or 'pycocotools': slower, the same numbers
)
test_evaluator = val_evaluator
