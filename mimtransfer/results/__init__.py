"""What a run achieved and at what cost, as one `result.json` a run, and the table made from them.

See docs/results-format.md.
"""
