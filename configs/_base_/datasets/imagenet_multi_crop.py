"""ImageNet-1k's training images without their labels, in DINO's 2 global and 8 local crops."""

data_root = '{{$LIGHTVIT_DATA:data}}/imagenet/'
large = dict(type='lightvit_dense.RandomResizedCrop', size=224, scale=(0.4, 1.0))
small = dict(type='lightvit_dense.RandomResizedCrop', size=96, scale=(0.05, 0.4))
color = [
    dict(type='lightvit_dense.RandomFlip', prob=0.5),
    dict(
        type='lightvit_dense.ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        prob=0.8,
    ),
    dict(type='lightvit_dense.RandomGrayscale', prob=0.2),
]
first = [large, *color, dict(type='lightvit_dense.GaussianBlur', prob=1.0)]
second = [
    large,
    *color,
    dict(type='lightvit_dense.GaussianBlur', prob=0.1),
    dict(type='lightvit_dense.Solarize', prob=0.2),
]
local = [small, *color, dict(type='lightvit_dense.GaussianBlur', prob=0.5)]
train_dataloader = dict(
    batch_size=128,  # x 8 GPUs = 1024
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        with_labels=False,
        source='folder',  # or 'lmdb', 'packed'
        data_root=data_root,
        img_dir='train',
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb', exif=False, max_bad=10),
            dict(
                type='lightvit_dense.MultiView',
                views=[
                    dict(count=1, pipeline=first),
                    dict(count=1, pipeline=second),
                    dict(count=8, pipeline=local),
                ],
            ),
            dict(type='lightvit_dense.PackViews'),
        ],
    ),
)
