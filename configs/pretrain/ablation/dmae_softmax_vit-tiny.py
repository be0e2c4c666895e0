"""D-MAE-Tiny with attention after the softmax as the target.

What      Maps after the softmax are compared in place of the logits.
Source    Ours; the papers match logits.
Expected  Not run by us.
Cost      As D-MAE-Tiny.
Run       tools/dist_train.sh configs/pretrain/ablation/dmae_softmax_vit-tiny.py 8 --amp \
          --work-dir work_dirs/dmae_softmax_vit-tiny

Maps sum to 1 over 50 tokens, so their squared error is some thousand times smaller than that of
logits: the weight of 1000 is a stand-in, not tuned.
"""

_base_ = '../dmae_vit-tiny.py'

model = dict(distiller=dict(target='softmax', loss_weight=1000.0))
