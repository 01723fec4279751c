"""What does a thief need: the target, the deposit module, or both?"""

import copy

import pandas

from lirf_kit.devices import seeded_generator
from lirf_kit.evidence.readings import ALL, ONLY, check_input, tidy
from lirf_kit.method.bank import BankNetwork
from lirf_kit.method.networks import SplitNetwork, accuracy, draw_weights
from lirf_kit.method.withdrawing import RecoveredNetwork

MODULE_ALONE = "module alone"


def thief_table(networks, parts, on="validation"):
    """Measure how often each network, and a deposit module without its target, recognises deposit images.

    The thief trains nothing, and uses the networks as they are. A module alone is run through the upper blocks, which
    target and original share; a difference is added to lower blocks that have learnt nothing. For *all classes*, the
    thief knows nothing about an image; for *deposit classes only*, the thief knows that it is of a deposit class, and
    rules out the other classes.

    Parameters
    ----------
    networks : dict of str to nn.Module
        With lower blocks. The recovered network stands for a thief who has both target and module, the original for
        one who has the original's lower blocks.
    parts : Partition
        From a split by class.
    on : {"validation", "test"}

    Returns
    -------
    pandas.DataFrame
        Tidy, accuracy on the deposit images in percent; one more row, "module alone", if there is a recovered network.

    Raises
    ------
    LirfError
        If a class has no images, or a network has no lower blocks.
    """
    check_input(networks, parts, on)
    stolen, deposited = dict(networks), getattr(parts, f"deposit_{on}")
    for network in networks.values():
        if isinstance(network, RecoveredNetwork) and not isinstance(network, BankNetwork):  # a bank has several modules
            fresh = untaught(network.target)
            stolen[MODULE_ALONE] = SplitNetwork(network.deposit_module.restore(fresh), fresh.upper)
    rows = []
    for task, among in ((ALL, "all"), (ONLY, "part")) if len(deposited.deposit_classes) > 1 else ((ALL, "all"),):
        values = {name: accuracy(network, deposited, among) for name, network in stolen.items()}
        rows.append(tidy("own answers", task, values, "%", "deposit images are recognised more often"))
    return pandas.concat(rows, ignore_index=True)


def untaught(target):
    """Return a copy of a target whose lower blocks have learnt nothing: what a thief without them can put in place.

    The normalisation of the images stays, and so do the upper blocks.
    """
    fresh = copy.deepcopy(target)
    draw_weights(fresh.lower.cpu().modules(), seeded_generator(0, "cpu"))
    return fresh.to(target.device)
