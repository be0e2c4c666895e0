"""Following one target through a video, frame by frame."""

from .tracker import Tracker, TrackResult
