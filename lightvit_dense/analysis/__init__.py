"""Reading what a run left behind: curves, pictures, reports and measurements."""
