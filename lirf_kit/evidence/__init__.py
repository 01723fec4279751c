"""The evidence: is it forgotten, and is it back? Every number, what to compare it with, and its spread over seeds.

Imports only `method`, `data` and what is below them.
Start with `metrics.results_table`, then read `references` and `experiments.results_over_seeds`.
"""
