"""What `scripts/measure_sglang.py` measures: one module for each kind of row."""
