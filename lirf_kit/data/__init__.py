"""The data: images as one uint8 tensor on the device, and which step gets to see which of them.

Imports only `config`, `devices` and `artifacts`.
Start with `images.load_dataset`, then read `partition.split_by_class`.
"""
