"""Pictures: palette, legends, painters and plots."""
