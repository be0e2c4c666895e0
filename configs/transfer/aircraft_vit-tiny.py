"""FGVC Aircraft from a pre-trained ViT-Tiny, here D-MAE; 100 classes.

What      6667 images to train, 3333 to test; SGD, crops and flips only. Another checkpoint:
          --cfg-options model.init_cfg.checkpoint=FILE; none: model.init_cfg=None.
Source    The authors' transfer recipe. Its epochs (100), learning rate (0.03), warm-up (20) and
          layer decay (0.75) are a stand-in, the defaults of their code: those used for this set are
          not published.
Expected  79.2% top-1 from D-MAE; random 9.4, DeiT 73.5, MoCo-v3 73.7, MAE 64.6, DINO 73.6,
          SimMIM 55.9 (paper). Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/transfer/aircraft_vit-tiny.py 4 --amp
"""

_base_ = './flowers_vit-tiny.py'

num_classes = 100
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)
source = dict(type='lightvit_dense.FGVCAircraft', data_root='{{$LIGHTVIT_DATA:data}}/aircraft/')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = val_dataloader
