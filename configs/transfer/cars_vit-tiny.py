"""Stanford Cars from a pre-trained ViT-Tiny, here D-MAE; 196 classes.

What      8144 images to train, 8041 to test; SGD, crops and flips only. Another checkpoint:
          --cfg-options model.init_cfg.checkpoint=FILE; none: model.init_cfg=None.
Source    The authors' transfer recipe. Its epochs (100), learning rate (0.03), warm-up (20) and
          layer decay (0.75) are a stand-in, the defaults of their code: those used for this set are
          not published.
Expected  87.5% top-1 from D-MAE; random 6.8, DeiT 85.6, MoCo-v3 83.9, MAE 78.8, DINO 84.5,
          SimMIM 70.4 (paper). Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/transfer/cars_vit-tiny.py 4 --amp
"""

_base_ = './flowers_vit-tiny.py'

num_classes = 196
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
)
source = dict(type='lightvit_dense.StanfordCars', data_root='{{$LIGHTVIT_DATA:data}}/cars/')
train_dataloader = dict(dataset=source)
val_dataloader = dict(dataset=source)
test_dataloader = val_dataloader
