"""The one-stream tracker and its parts."""
