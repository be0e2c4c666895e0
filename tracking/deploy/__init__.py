"""Inference of a tracker without needless work, in torch and as ONNX files."""
