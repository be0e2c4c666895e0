"""ImageNet-1k's training images without their labels; MAE-Tiny's augmentation."""

data_root = '{{$LIGHTVIT_DATA:data}}/imagenet/'
train_dataloader = dict(
    batch_size=512,  # x 8 GPUs = 4096
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='lightvit_dense.ImageFiles',
        data_root=data_root,
        img_dir='train',
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb', max_bad=10),
            dict(
                type='lightvit_dense.RandomResizedCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='random',
            ),
            dict(type='mmcv.RandomFlip', prob=0.5),
            dict(type='lightvit_dense.PackImage'),
        ],
    ),
)
