"""Data preprocessors: a collated batch in, normalised tensors on the device out."""

from .image import ImagePreprocessor, MultiViewPreprocessor
