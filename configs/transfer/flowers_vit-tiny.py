"""Oxford Flowers-102 from a pre-trained ViT-Tiny, here D-MAE; 102 classes.

What      2040 images to train, 6149 to test; SGD, crops and flips only. Another checkpoint:
          --cfg-options model.init_cfg.checkpoint=FILE; none: model.init_cfg=None.
Source    The authors' transfer recipe. Its epochs (100), learning rate (0.03), warm-up (20) and
          layer decay (0.75) are a stand-in, the defaults of their code: those used for this set are
          not published.
Expected  95.2% top-1 from D-MAE; random 30.2, DeiT 96.4, MoCo-v3 94.8, MAE 85.8, DINO 95.6,
          SimMIM 77.2 (paper). Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/transfer/flowers_vit-tiny.py 4 --amp
"""

_base_ = [
    '../_base_/models/vit-tiny_cls.py',
    '../_base_/datasets/transfer.py',
    '../_base_/schedules/transfer_100e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'lightvit_dense'

num_classes = 102
model = dict(
    # Takes the norm before the linear layer, too, where the checkpoint is that of a classifier.
    init_cfg=dict(
        type='lightvit_dense.PretrainedClassifier',
        checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors',
    ),
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)
source = dict(type='lightvit_dense.Flowers102', data_root='{{$LIGHTVIT_DATA:data}}/flowers102/')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=10))
