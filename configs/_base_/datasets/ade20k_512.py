"""ADE20K's 150 classes: sides scaled by 0.5-2.0, crops of 512 px, colours jittered."""

data_root = '{{$LIGHTVIT_DATA:data}}/ade20k/'
dataset_type = 'lightvit_dense.ADE20KDataset'
crop_size = (512, 512)
scale = (2048, 512)

train_dataloader = dict(
    batch_size=2,  # x 8 GPUs = 16
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='lightvit_dense.LoadSegmentationMap'),
            dict(
                type='lightvit_dense.RandomScaleCrop',
                scale=scale,
                ratio_range=(0.5, 2.0),
                crop_size=crop_size,
                cat_max_ratio=0.75,
            ),
            dict(type='mmseg.RandomFlip', prob=0.5),
            dict(type='lightvit_dense.PhotoMetricDistortion'),
            dict(type='lightvit_dense.PackSegmentation'),
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
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        test_mode=True,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='bgr'),
            dict(type='mmseg.Resize', scale=scale, keep_ratio=True),
            # After the resize: scores are brought back to the size of the label map.
            dict(type='lightvit_dense.LoadSegmentationMap'),
            dict(type='mmseg.PackSegInputs'),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='lightvit_dense.IoUMetric')
test_evaluator = val_evaluator
