"""Segmentors on top of mmseg; kept apart because mmseg takes seconds to import."""
