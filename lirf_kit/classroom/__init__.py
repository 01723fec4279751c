"""For a class: checks of what a student wrote, and predictions on record.

Imports only `bench`, `pictures`, `evidence` and what is below them.
Start with `check.attention_map`; its numbers are in `toys`.
"""

from lirf_kit.classroom import check as check
