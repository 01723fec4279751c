"""What the tests share: the digits, one original trained on them, and its deposit; and a tiny config for the rest."""

import os

# The networks are too small for several threads to help, and where cores are shared waiting threads cost minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"

import pytest
import torch

import lirf_kit as lk


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Every test keeps its runs and its data in folders of its own; returns that of the runs (it isn't there yet)."""
    monkeypatch.setenv("LIRF_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIRF_KIT_DATA", str(tmp_path / "data"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def config():
    return lk.preset("digits").replace(device="cpu")


@pytest.fixture(scope="session")
def data(config):
    return lk.load_dataset(config)


@pytest.fixture(scope="session")
def parts(data, config):
    return lk.split_by_class(data, config.deposit_classes)


@pytest.fixture(scope="session")
def original(data, config):
    return lk.train_original(data, config)


@pytest.fixture(scope="session")
def deposited(original, parts, config):
    """Target and deposit module of the preset."""
    return lk.deposit(original, parts.deposit_set, config)


@pytest.fixture(scope="session")
def recovered(deposited):
    return lk.withdraw(*deposited)


@pytest.fixture(scope="session")
def networks(original, deposited, recovered):
    return {"original": original, "target": deposited[0], "recovered": recovered}


@pytest.fixture(scope="session")
def embeddings(networks, parts, config):
    return lk.embed_networks(networks, parts.test, config)


@pytest.fixture(scope="session")
def tiny(config):
    """A config whose whole path takes a second, and whose networks know next to nothing; L_cs and L_os are off."""
    small = {"widths": (4, 8), "split_after": 2, "epochs": 2, "deposit_epochs": 2, "batch_size": 256, "lambda_cs": 0.0}
    small["lambda_os"] = 0.0
    return config.replace(**small, test_fraction=0.1, perplexity=10)


@pytest.fixture(scope="session")
def tiny_data(tiny):
    return lk.load_dataset(tiny)


@pytest.fixture(scope="session")
def tiny_parts(tiny_data):
    return lk.split_by_class(tiny_data, (0, 1, 2))


@pytest.fixture(scope="session")
def tiny_original(tiny_data, tiny):
    return lk.train_original(tiny_data, tiny)


@pytest.fixture(scope="session")
def tiny_deposited(tiny_original, tiny_parts, tiny):
    return lk.deposit(tiny_original, tiny_parts.deposit_set, tiny)


@pytest.fixture(scope="session")
def same_weights():
    """Whether two modules hold the same names and, bit by bit, the same tensors."""

    def same(first, second):
        one, other = first.state_dict(), second.state_dict()
        return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)

    return same


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def interrupt_at(monkeypatch):
    """Call it with the number of an epoch, of this and later trainings: its end is never reached.

    Returns a list that grows by one with each epoch that comes to its end or is interrupted there.
    """
    from lirf_kit.method import training

    accuracy, calls = training.accuracy, []

    def arm(*epochs):
        def interrupted(*arguments):
            calls.append(None)
            if len(calls) in epochs:
                raise KeyboardInterrupt
            return accuracy(*arguments)

        monkeypatch.setattr(training, "accuracy", interrupted)
        return calls

    return arm
