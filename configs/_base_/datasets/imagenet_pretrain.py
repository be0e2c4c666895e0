"""ImageNet-1k's training images without their labels; MAE-Tiny's augmentation.

A crop is decoded no further than it needs, and resized by torch. `backend='pillow', reduce=False`
of LoadRandomResizedCrop gives the authors' pixels.
"""

data_root = '{{$LIGHTVIT_DATA:data}}/imagenet/'
train_dataloader = dict(
    batch_size=512,  # x 8 GPUs = 4096
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        with_labels=False,
        source='folder',  # or 'lmdb', 'packed'
        data_root=data_root,
        img_dir='train',
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='random',
                max_bad=10,
                exif=False,
            ),
            # carried out on the device, by lightvit_dense.ImagePreprocessor
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
