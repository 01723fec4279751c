"""The method of the paper: a network that can be cut, the terms of its loss, deposit and withdrawal.

It may use `data` and what is below it, and knows nothing of tables, figures or widgets.
Begin with `losses`, one function a symbol; then read `depositing.deposit_terms` and `withdrawing.RecoveredNetwork`.
"""
