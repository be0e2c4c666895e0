"""UperNet on the toy world, backbone from scratch.

What      The ADE20K recipe made small: the ViT of `maskrcnn_scratch.py` without windows (width 128,
          depth 6, 8-px patches), a head of 64 channels, few labelled images, all of ADE20K's 150
          classes. Everything else (taps, pyramid, pyramid pooling, auxiliary head, batch norm,
          crops, colours, AdamW, schedule) is `configs/ade20k/upernet_dmae_tiny.py`'s.
Source    Ours.
Run       tools/train.py configs/toyworld/upernet_scratch.py
"""

_base_ = '../_base_/tasks/toyworld_upernet.py'
