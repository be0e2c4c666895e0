"""iNaturalist 2018 from a pre-trained ViT-Tiny, here D-MAE; 8142 classes.

What      437 513 images to train, 24 426 to test; SGD, crops and flips only. Another
          checkpoint: --cfg-options model.init_cfg.checkpoint=FILE; none: model.init_cfg=None.
Source    The authors' transfer recipe. Its epochs (100), learning rate (0.03), warm-up (20) and
          layer decay (0.75) are a stand-in, the defaults of their code: those used for this set are
          not published.
Expected  63.6% top-1 from D-MAE; random 58.7, DeiT 63.6, MoCo-v3 54.5, MAE 60.6, DINO 58.7,
          SimMIM 60.8 (paper). Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/transfer/inat18_vit-tiny.py 4 --amp
"""

_base_ = './flowers_vit-tiny.py'

num_classes = 8142
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)
source = dict(type='lightvit_dense.INaturalist2018', data_root='{{$LIGHTVIT_DATA:data}}/inat18/')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = val_dataloader
