"""ImageNet-21k initialisation of 30 epochs, fine-tuned by the improved recipe, 300 epochs.

What      `finetune_in21k_vit-tiny_300e.py` from the pre-training of a tenth of the length.
Source    ICLR submission, table 1. The file is one of the `Ti_16-i21k-30ep-*.npz` of Steiner et al.
          2021; which of them the authors took is not published. Save it under the name below.
Expected  76.9% top-1 (paper). Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_in21k-30e_vit-tiny_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_vit-tiny.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=192, depth=12, num_heads=3),
        init_cfg=dict(checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/Ti_16-i21k-30ep.npz'),
    ),
)
