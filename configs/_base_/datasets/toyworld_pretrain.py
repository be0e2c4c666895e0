"""The toy world's unlabelled images, crops of 64 px; one worker, endless."""

crop = 64  # half a picture, so objects keep the size they have there
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        with_labels=False,
        data_root='{{$LIGHTVIT_DATA:data}}/toyworld/coco/',
        img_dir='unlabeled2017',
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=crop,
                scale=(0.12, 0.5),
                interpolation='bilinear',
                backend='cv2',
            ),
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
