"""CIFAR-100 from a pre-trained ViT-Tiny, here D-MAE; 100 classes.

What      50 000 images to train, 10 000 to test, enlarged to 224 px; SGD, crops and flips only.
          Another checkpoint: --cfg-options model.init_cfg.checkpoint=FILE; none:
          model.init_cfg=None.
Source    The authors' transfer recipe, published in full for this set: 50 epochs, 10 of warm-up, lr
          0.1, layer decay 0.75.
Expected  85.0% top-1 from D-MAE; random 42.7, DeiT 85.8, MoCo-v3 83.9, MAE 78.9, DINO 84.7,
          SimMIM 77.7 (paper). Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/transfer/cifar100_vit-tiny.py 4 --amp
"""

_base_ = './flowers_vit-tiny.py'

num_classes = 100
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)
source = dict(type='lightvit_dense.CIFAR100', data_root='{{$LIGHTVIT_DATA:data}}/cifar100/')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = dict(warmup=10, eta_min_ratio=1e-6 / 0.1)
train_cfg = dict(max_epochs=50)
