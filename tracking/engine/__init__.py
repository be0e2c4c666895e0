"""Hooks of tracking."""

from .elimination_schedule import EliminationScheduleHook

__all__ = ['EliminationScheduleHook']
