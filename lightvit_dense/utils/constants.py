"""Numbers that every recipe shares, and the endings of files that every tool reads."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean of R, G and B, of values in 0..255."""

IMAGENET_STD = (58.395, 57.12, 57.375)
"""Their standard deviation."""

IMAGE_EXTENSIONS = (
    '.jpg', '.jpeg', '.jpe', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm'
)  # fmt: skip
"""Endings of pictures, in lower case."""

VIDEO_EXTENSIONS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')
"""Endings of videos."""
