"""Pairs of template and search crops to train on."""
