"""Models outside of Python's training loop: ONNX."""

from .onnx_export import OnnxParity, compare_onnx, export_onnx, onnx_session

__all__ = ['OnnxParity', 'compare_onnx', 'export_onnx', 'onnx_session']
