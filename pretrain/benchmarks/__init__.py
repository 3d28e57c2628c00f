"""Benchmarks of pretraining: steps on made-up batches, loading, and all cases of tools/gpu_report.py.

Nothing is imported here.
"""
