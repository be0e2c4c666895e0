"""A small one-stream tracker on the toy world's videos, from scratch.

What      The LaSOT recipe made small: template 32 px, search 64 px, 8-px patches, the toy student's
          ViT (width 128, depth 6), a head of 64 channels, 16 pairs a step. Crops are tighter, and
          elimination (blocks 1, 3 and 4) begins late, because a ViT that cannot yet find the target
          eliminates it. Sizes are learned at the target's own cell. Test and losses are
          `configs/lasot/ostrack256_dmae_tiny.py`'s.
Source    Ours.
Run       tools/train.py configs/toyworld/ostrack_scratch.py
"""

_base_ = '../_base_/tasks/toyworld_ostrack.py'
