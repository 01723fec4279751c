"""The pictures: t-SNE and every figure that can be saved as a file.

Imports only `evidence` and the wings below it.
Start with `embedding.embed_networks`, then read `figures.plot_tsne`.
"""
