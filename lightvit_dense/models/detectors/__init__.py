"""Detectors on top of mmdet; kept apart because mmdet takes seconds to import."""
