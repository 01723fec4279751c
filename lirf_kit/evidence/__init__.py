"""The evidence: is it forgotten, and is it back? Every number, what to compare it with, and its spread over seeds.

It may use `method`, `data` and what is below them.
Begin with `metrics.results_table`, then `references`, and `experiments.results_over_seeds`.
"""
