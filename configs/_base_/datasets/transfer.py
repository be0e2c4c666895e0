"""A small labelled set at 224 px: random crops and flips to train, centre crops to test.

The leaf names the set: `type` and `data_root` of both datasets.
"""

train_dataloader = dict(
    batch_size=128,  # x 4 GPUs = 512
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        split='train',
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='bicubic',
                exif=False,
            ),
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        split='test',
        test_mode=True,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb', exif=False),
            dict(type='lightvit_dense.CenterResizedCrop', size=224, ratio=224 / 256),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='lightvit_dense.Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
