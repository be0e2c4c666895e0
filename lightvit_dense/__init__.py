"""Lightweight vision transformers: pre-training and dense downstream benchmarks."""

__version__ = '0.1.0'
