"""What every run needs and no lesson teaches: run folders, checkpoints that survive a kill, the terminal."""
