"""Single-object tracking on the backbones of :mod:`lightvit_dense`."""
