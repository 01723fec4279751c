"""What can be read off features: nearest neighbours."""

from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier


def neighbour_accuracy(points, labels, neighbours=10):
    """Return how often a point's nearest neighbours tell its class: kNN accuracy, five-fold cross-validated.

    Parameters
    ----------
    points : numpy.ndarray
        (N, any), an embedding or features.
    labels : torch.Tensor
        (N,).
    neighbours : int
        How many vote.

    Returns
    -------
    float
        Between 0 and 1.
    """
    return float(cross_val_score(KNeighborsClassifier(neighbours), points, labels.cpu().numpy(), cv=5).mean())
