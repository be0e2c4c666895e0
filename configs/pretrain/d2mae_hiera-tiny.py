"""D²-MAE on Hiera-Tiny: decoupled distillation carried over to a hierarchical backbone.

What      The decoder reads the scales up to block 8 (in the third stage, brought to the final
          width by a convolution), so that blocks 9 to 12 learn from the teacher alone; a
          query-key block behind block 12 follows the teacher's last block. The exported backbone
          is the plain Hiera-Tiny.
Source    Ours: the published Hiera is distilled without decoupling. Block 8 of 12 and the extra
          block are those of the published D²-MAE on ViT-Tiny; the rest is `dmae_hiera-tiny.py`'s.
Expected  Nothing is published; not run by us.
Cost      Not measured.
Run       tools/dist_train.sh configs/pretrain/d2mae_hiera-tiny.py 8 --amp

The teacher is Meta's Hiera-Base after MAE (`mae_hiera_base_224.pth`, CC-BY-NC 4.0), see
`dmae_hiera-tiny.py`.
"""

_base_ = './dmae_hiera-tiny.py'

model = dict(reconstruct_after=8, distiller=dict(pairs=[(13, 24)], extra_layer=True))
