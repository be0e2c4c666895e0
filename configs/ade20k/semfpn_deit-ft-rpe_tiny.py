"""Semantic FPN, supervised ViT-Tiny with relative positions, ADE20K, 160 000 iterations.

What      `semfpn_d2mae-ft-rpe_tiny.py` from the authors' supervised network of 1000 epochs, their
          file `deit_tiny_rpe_1000e.pth.tar`, which is read as it is.
Source    The authors' mmsegmentation configuration.
Expected  41.5 mIoU (paper), where mmsegmentation drops the query and value biases of the file,
          whose names it does not know. Ours loads them; `model.backbone.init_cfg.skip=qkv.bias`
          starts as the paper did. Not run by us.
Cost      That of `semfpn_dmae_tiny.py`.
Run       tools/dist_train.sh configs/ade20k/semfpn_deit-ft-rpe_tiny.py 8
"""

_base_ = '../_base_/tasks/semfpn_tiny.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='{{$LIGHTVIT_DATA:data}}/checkpoints/deit_tiny_rpe_1000e.pth.tar'),
    )
)

expected = [('mIoU', 41.5, 0.5)]
