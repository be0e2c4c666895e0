"""Oxford-IIIT Pets from a pre-trained ViT-Tiny, here D-MAE; 37 classes.

What      3680 images to train, 3669 to test; SGD, crops and flips only. Another checkpoint:
          --cfg-options model.init_cfg.checkpoint=FILE; none: model.init_cfg=None.
Source    The authors' transfer recipe. Its epochs (100), learning rate (0.03), warm-up (20) and
          layer decay (0.75) are a stand-in, the defaults of their code: those used for this set are
          not published.
Expected  89.1% top-1 from D-MAE; random 26.1, DeiT 93.1, MoCo-v3 87.8, MAE 76.5, DINO 89.3,
          SimMIM 68.9 (paper). Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/transfer/pets_vit-tiny.py 4 --amp
"""

_base_ = './flowers_vit-tiny.py'

num_classes = 37
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)
source = dict(type='lightvit_dense.OxfordPets', data_root='{{$LIGHTVIT_DATA:data}}/pets/')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = val_dataloader
