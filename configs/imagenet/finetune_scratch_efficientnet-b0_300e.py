"""EfficientNet-B0 from scratch by the improved recipe, 300 epochs: what SEED is compared with.

What      timm's `tf_efficientnet_b0`, drop connect and dropout of 0.2, RandAugment of magnitude 10,
          Mixup 0.2, AdamW, lr 4e-3 at batch 1024, no layer decay.
Source    The paper's improved recipe. The 77.7% beside SEED's 77.2% in its table 2 is timm's
          `efficientnet_b0.ra_in1k`, of timm's own recipe (RMSprop, 450 epochs).
Expected  Not published for this recipe. Not run by us.
Cost      Not known; 300 epochs of 1.28 million images.
Run       tools/dist_train.sh configs/imagenet/finetune_scratch_efficientnet-b0_300e.py 8 --amp
"""

_base_ = '../_base_/tasks/finetune_efficientnet-b0.py'
