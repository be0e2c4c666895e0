"""ImageNet-1k with labels for the improved recipe: RandAugment of magnitude 10."""

_base_ = './imagenet_train.py'

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='bicubic',
                max_bad=10,
                exif=False,
            ),
            dict(type='lightvit_dense.RandAugment', policy='rand-m10-mstd0.5-inc1'),
            # Carried out on the device. RandAugment favours neither side, so it may come last.
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
