"""MAE-Small: ViT-Small (12 heads) pre-trained on ImageNet-1k for 400 epochs.

What      MAE-Tiny's recipe with an encoder of width 384 and a decoder of width 192.
Source    The authors' ViT-Small documentation.
Expected  82.1% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/mae_vit-small.py 8 --amp \
          --work-dir work_dirs/mae_vit-small
"""

_base_ = './mae_vit-tiny.py'

model = dict(backbone=dict(arch='small'), decoder=dict(embed_dim=192, depth=1, num_heads=6))
