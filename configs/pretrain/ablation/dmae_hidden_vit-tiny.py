"""D-MAE-Tiny with the last layer's output matched too.

What      A linear map from 192 to 768 channels, weight 1, beside the attention. Both outputs are
          compared after the encoders' final norms, as the authors do.
Source    The authors' code has this option, off by default.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_hidden_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_hidden_vit-tiny
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(distiller=dict(hidden_pairs=[(12, 12)]))
