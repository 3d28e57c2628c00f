"""A study in one small file: pretrainings x downstream tasks x seeds, run where it is missing. See docs/suites.md.

Nothing here imports torch, and a second call of a finished suite imports mmengine neither: it answers within seconds.
"""
