"""D-MAE-Tiny with every layer matched to the teacher's layer at the same depth.

What      Twelve pairs, each with a head map of its own; the loss is their sum.
Source    ICML paper, figure 7; the sum is that of the authors' code.
Expected  Below D-MAE-Tiny, whose last layer alone is matched (paper). Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_all-layers_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_all-layers_vit-tiny
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(distiller=dict(pairs='all'))
