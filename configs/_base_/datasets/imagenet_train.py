"""ImageNet-1k with labels to train on: random crops and RandAugment of magnitude 9.

A crop is decoded no further than it needs, and resized by torch. `backend='pillow', reduce=False`
of LoadRandomResizedCrop gives the authors' pixels.
"""

train_dataloader = dict(
    batch_size=128,  # x 8 GPUs = 1024
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        data_root='{{$LIGHTVIT_DATA:data}}/imagenet/',
        img_dir='train',
        source='folder',  # or 'lmdb', 'packed', made by tools/dataset_converters/
        lmdb_path='imagenet.lmdb',
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='bicubic',
                max_bad=10,
                exif=False,
            ),
            dict(type='lightvit_dense.RandAugment', policy='rand-m9-mstd0.5-inc1'),
            # Carried out on the device. RandAugment favours neither side, so it may come last.
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
