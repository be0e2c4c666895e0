"""Following one target through a video, frame by frame."""
