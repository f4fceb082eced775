"""What `scripts/measure_training.py` measures: one module for each row."""
