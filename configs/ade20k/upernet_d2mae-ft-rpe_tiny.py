"""UperNet, ViT-Tiny with relative positions from the fine-tuned D²-MAE, ADE20K, 160 000 iterations.

What      `upernet_dmae_tiny.py` with BEiT's relative position biases in every block, from the
          backbone of `imagenet/finetune_d2mae_vit-tiny-rpe_1000e.py`. Its tables are resized to 32
          x 32 patches.
Source    As there.
Expected  Nothing is published for it. Not run by us.
Cost      That of `upernet_dmae_tiny.py`, and the biases of 1025 x 1025 tokens.
Run       tools/dist_train.sh configs/ade20k/upernet_d2mae-ft-rpe_tiny.py 8 --amp
"""

_base_ = '../_base_/tasks/upernet_tiny.py'

model = dict(
    backbone=dict(
        img_size=512,  # a table of this grid, filled from the checkpoint's by interpolation
        rel_pos=dict(kind='bias'),
        init_cfg=dict(
            checkpoint='work_dirs/finetune_d2mae_vit-tiny-rpe_1000e/backbone.safetensors'
        ),
    )
)
