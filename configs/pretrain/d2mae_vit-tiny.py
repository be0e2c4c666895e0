"""D²-MAE-Tiny: MAE-Tiny with decoupled attention distillation.

What      The decoder reads the output of block 8, so that the later blocks learn from the teacher
          alone; a query-key block behind block 12 is matched to the teacher's last layer. The
          exported backbone is the plain ViT-Tiny of 12 blocks.
Source    The authors' D²-MAE configuration; arXiv 2404.12210.
Expected  78.7% ImageNet-1k top-1 after 300 epochs of fine-tuning, 79.4% after 1000 with relative
          positions (paper). Not run by us.
Cost      As D-MAE: 44 hours on 8 RTX 2080, against 40 for MAE (authors' README).
Run       tools/dist_train.sh configs/pretrain/d2mae_vit-tiny.py 8 --amp \
          --work-dir work_dirs/d2mae_vit-tiny

The teacher is the official MAE ViT-Base (`mae_pretrain_vit_base.pth`), see README, "Pre-trained
checkpoints".
"""

_base_ = './dmae_vit-tiny.py'

model = dict(reconstruct_after=8, distiller=dict(pairs=[(13, 12)], extra_layer=True))
