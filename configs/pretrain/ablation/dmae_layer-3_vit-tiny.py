"""D-MAE-Tiny with layer 3 matched to the teacher's layer 3 in place of the last.

What      One pair, (3, 3); everything else is D-MAE-Tiny's.
Source    ICML paper, figure 7.
Expected  Below D-MAE-Tiny, whose last layer is matched (paper). Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_layer-3_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_layer-3_vit-tiny
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(distiller=dict(pairs=[(3, 3)]))
