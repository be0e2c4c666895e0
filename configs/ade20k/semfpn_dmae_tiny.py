"""Semantic FPN, ViT-Tiny from D-MAE, ADE20K, 512 px, 160 000 iterations.

What      mmsegmentation's MAE backbone: whatever the initial weights, every block has relative
          position biases and LayerScales that start at 0 and 1, and position table and class token
          are decayed. Maps of blocks 3, 5, 7 and 11, scaled to four resolutions of 48 channels, the
          head of Semantic FPN (Kirillov et al. 2019) without auxiliary head, layer decay 0.8, drop
          path 0.1, sliding windows in testing.
Source    The authors' mmsegmentation configuration. It asks for half precision, which its engine
          ignores: the figures are of single precision. `--amp` is faster, and ours.
Expected  Nothing is published from D-MAE; 39.0 mIoU from D²-MAE (paper). Not run by us.
Cost      8 GPUs, 16 images a step; every block adds biases of 1025 x 1025 tokens to its logits.
Run       tools/dist_train.sh configs/ade20k/semfpn_dmae_tiny.py 8
"""

_base_ = '../_base_/tasks/semfpn_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)
