"""What every package uses: files, environment, memory, logs and tables."""
