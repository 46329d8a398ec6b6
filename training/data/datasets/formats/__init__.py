"""Datasets in the formats that people have: each module reads one, `auto` recognises them."""
