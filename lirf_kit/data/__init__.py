"""The data: images as one uint8 tensor on the device, and the rule of who may see which.

It may use `config`, `devices` and `artifacts`, and nothing above it.
Begin with `images.load_dataset`, then `partition.split_by_class`.
"""
