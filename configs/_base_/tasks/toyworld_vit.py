"""Classification on the toy world; a leaf may name a checkpoint."""

_base_ = './small_sets_vit.py'

crop, num_classes = 64, 6
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(arch=dict(embed_dim=128, num_heads=4), img_size=crop, patch_size=8),
    head=dict(num_classes=num_classes),
)

data_root = '{{$LIGHTVIT_DATA:data}}/toyworld/imagenet/'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        fraction=0.1,
        pipeline=[
            dict(
                type='lightvit_dense.LoadRandomResizedCrop',
                size=crop,
                scale=(0.5, 1.0),
                interpolation='bilinear',
                backend='cv2',
            ),
            dict(type='lightvit_dense.RandomFlipFlag', prob=0.5),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
val_dataloader = dict(
    batch_size=100,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb'),
            dict(type='lightvit_dense.CenterResizedCrop', size=crop, ratio=1.0),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
