"""ImageNet-1k's training images without their labels, in MoCo-v3's two views."""

data_root = '{{$LIGHTVIT_DATA:data}}/imagenet/'
crop = dict(
    type='lightvit_dense.RandomResizedCrop', size=224, scale=(0.08, 1.0), interpolation='bilinear'
)
color = [
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
flip = dict(type='lightvit_dense.RandomFlip', prob=0.5)
first = [crop, *color, dict(type='lightvit_dense.GaussianBlur', prob=1.0), flip]
second = [
    crop,
    *color,
    dict(type='lightvit_dense.GaussianBlur', prob=0.1),
    dict(type='lightvit_dense.Solarize', prob=0.2),
    flip,
]
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
                views=[dict(count=1, pipeline=first), dict(count=1, pipeline=second)],
            ),
            dict(type='lightvit_dense.PackViews'),
        ],
    ),
)
