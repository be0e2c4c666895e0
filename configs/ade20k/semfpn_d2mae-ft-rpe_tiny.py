"""Semantic FPN, ViT-Tiny with relative positions from the fine-tuned D²-MAE, ADE20K, 160 000 steps.

What      `semfpn_dmae_tiny.py` from the backbone of
          `imagenet/finetune_d2mae_vit-tiny-rpe_1000e.py`, whose relative position biases are
          resized to 32 x 32 patches once, by BEiT's geometric rule.
Source    The authors' mmsegmentation configuration.
Expected  42.8 mIoU (paper), where mmsegmentation drops the query and value biases of the file,
          whose names it does not know. Ours loads them; `model.backbone.init_cfg.skip=qkv.bias`
          starts as the paper did. Not run by us.
Cost      That of `semfpn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/semfpn_d2mae-ft-rpe_tiny.py 8
"""

_base_ = '../_base_/tasks/semfpn_tiny.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/finetune_d2mae_vit-tiny-rpe_1000e/backbone.safetensors'
        ),
    )
)

expected = [('mIoU', 42.8, 0.5)]
