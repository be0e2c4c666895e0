"""D-MAE-Tiny with every layer matched through one head map for all.

What      As `dmae_all-layers_vit-tiny.py` with one M in place of twelve.
Source    Ours.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_all-layers-shared-map_vit-tiny.py 8 \
          --amp --work-dir work_dirs/dmae_all-layers-shared-map_vit-tiny
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(distiller=dict(pairs='all', head_map='shared'))
