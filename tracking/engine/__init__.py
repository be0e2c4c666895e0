"""Hooks of tracking."""
