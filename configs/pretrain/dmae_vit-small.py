"""D-MAE-Small: ViT-Small with the attention of a MAE-pre-trained ViT-Base distilled into it.

What      D-MAE-Tiny's recipe with an encoder of width 384 and a decoder of width 192.
Source    The authors' ViT-Small documentation.
Expected  82.5% ImageNet-1k top-1 after 300 epochs of fine-tuning (paper). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/dmae_vit-small.py 8 --amp \
          --work-dir work_dirs/dmae_vit-small
"""

_base_ = './dmae_vit-tiny.py'

model = dict(backbone=dict(arch='small'), decoder=dict(embed_dim=192, depth=1, num_heads=6))
