"""Measurements of mlpax, one script per claim; run them with `python -m benchmarks`."""
