"""Numbers that every recipe shares."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean of R, G and B, of values in 0..255."""

IMAGENET_STD = (58.395, 57.12, 57.375)
"""Their standard deviation."""
