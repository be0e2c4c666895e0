"""ImageNet-21k initialisation of ViT-Tiny, fine-tuned by the improved recipe, 300 epochs.

What      `finetune_mae_vit-tiny_300e.py` from labels of ImageNet-21k, which Steiner et al. 2021
          learned for 300 epochs. The network has their 3 heads, not the papers' 12.
Source    ICLR submission, table 1. The file is timm's `vit_tiny_patch16_224.augreg_in21k`, saved
          under the name below. How images were normalised is not published: the pre-training had
          mean and deviation 0.5, here it is ImageNet's, as in all of the authors' recipes.
Expected  77.8% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_in21k_vit-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=12, num_heads=3),
        init_cfg=dict(
            checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/vit_tiny_augreg_in21k.safetensors'
        ),
    ),
)
