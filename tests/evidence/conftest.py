import pytest
import torch


class Logits(torch.nn.Module):
    """Answers the image whose pixel is i with the i-th row."""

    def __init__(self, *rows):
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, images):
        return self.rows[images.flatten().long()]


@pytest.fixture
def logits_network():
    """Call it with rows of logits."""
    return Logits
