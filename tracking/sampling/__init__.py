"""Pairs of template and search crops to train on."""

from .crops import CropWindow, DegenerateBox, crop_image, crop_window, padding_mask

__all__ = ['CropWindow', 'DegenerateBox', 'crop_image', 'crop_window', 'padding_mask']
