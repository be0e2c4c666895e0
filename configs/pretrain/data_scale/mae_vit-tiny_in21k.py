"""MAE-Tiny pre-trained on ImageNet-21k, 14.2 million images.

What      `mae_vit-tiny.py` on the images of all 21 841 classes, for as many iterations as on
          ImageNet-1k: 36 epochs. Unreadable images, of which the collection has some, are passed
          over and named in the log, up to 1000.
Source    ICLR submission, table 3. That the number of iterations is kept is our assumption; the
          paper does not say.
Expected  78.0% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      As `mae_vit-tiny.py`. The list of images takes 0.65 GB of memory a GPU; the workers that
          it starts share it.
Run       tools/dist_train.sh configs/pretrain/data_scale/mae_vit-tiny_in21k.py 8 --amp
"""

_base_ = '../mae_vit-tiny.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    # Folders train/n*/ of images, or source='lmdb', which is listed in seconds.
    dataset=dict(
        data_root='{{$LIGHTVIT_DATA:data}}/imagenet21k/',
        lmdb_path='imagenet21k.lmdb',
        pipeline=[
            dict(_base_.train_dataloader.dataset.pipeline[0], max_bad=1000),
            *_base_.train_dataloader.dataset.pipeline[1:],
        ],
    ),
)
max_iters = 124_800  # 400 epochs of 1 281 167 images, 4096 at a time
param_scheduler = dict(warmup=12_480, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(
    _delete_=True, type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=10**9
)
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(interval=5000, by_epoch=False))
