"""MoCo-v3-Tiny pre-trained on 1% of ImageNet-1k, balanced.

What      `mocov3_vit-tiny.py` on a part of the data, for as many iterations as on all of it.
Source    The lists of Assran et al. 2021 (suncet), saved as `1percent.txt`;
          tools/dataset_converters/make_subset.py makes others. That the number of iterations is
          kept is our assumption; the paper does not say.
Expected  73.1% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper) with the earlier
          version of their MoCo-v3 (73.7 on all data). Not run
          by us.
Cost      As `mocov3_vit-tiny.py`.
Run       tools/dist_train.sh configs/pretrain/data_scale/mocov3_vit-tiny_1percent.py 8 --amp
"""

_base_ = '../mocov3_vit-tiny.py'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='lightvit_dense.SeededInfiniteSampler', shuffle=True),
    dataset=dict(ann_file='1percent.txt'),
)
max_iters = 500_400  # 400 epochs of 1 281 167 images, 1024 at a time
param_scheduler = dict(warmup=50_040, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(
    _delete_=True, type='mmengine.IterBasedTrainLoop', max_iters=max_iters, val_interval=10**9
)
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(interval=5000, by_epoch=False))
