"""The pictures: t-SNE and every figure that can be saved as a file.

It may use `evidence` and everything below it.
Begin with `embedding.embed_networks`, then `figures.plot_tsne`.
"""
