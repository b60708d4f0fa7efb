"""What surrounds every job: logging and progress, records of time and energy, Slurm."""
