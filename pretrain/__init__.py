"""Masked image modelling: data -> strategy (which patch plays which role) -> method (what a role means) -> checkpoint.

Read in this order: `aug_record`, `data/`, `layout`, `masking/`, `methods/`. See docs/architecture.md.
"""
