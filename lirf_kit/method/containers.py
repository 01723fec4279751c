"""The deposit module T_r, in two kinds: a pruned network (the paper's), or the difference of the lower blocks' weights.

Both carry a fingerprint of the target that their deposit left, so that `withdraw` can refuse any other.
"""

import copy
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from lirf_kit.artifacts import fingerprint, serialised, write_file
from lirf_kit.config import LirfError
from lirf_kit.method.networks import layout
from lirf_kit.method.packing import dequantise, pack, quantise, unpack
from lirf_kit.method.pruning import prune_lower

HALF = 16  # bytes of a module's fingerprint


class DepositModule(nn.Module):
    """T_r as a pruned network: a container for the knowledge of the deposit classes. It can't classify on its own.

    Attributes
    ----------
    lower : nn.Sequential
        A copy of the original's lower blocks, perhaps pruned. The module has no other parameters.
    deposit_classes : torch.Tensor
        int64, (k,), a buffer: the classes whose logits the module supplies.
    belongs_to : torch.Tensor
        uint8, (32,), a buffer: half of it is the fingerprint of the upper blocks that the module is read out by, the
        other half that of the whole target that the deposit left, 0 until then. A half of zeros fits any.
    stored : dict of str to torch.Tensor, optional
        What its file holds instead of the weights, if they are rounded (see `round_module`).
    """

    preserved = "target"  # whose preserved logits `withdraw` takes: a pruned module only learns the deposit classes

    def __init__(self, lower, deposit_classes):
        super().__init__()
        self.lower, self.stored = lower, None
        # a buffer is saved with the weights and moves with the module, but is never trained
        self.register_buffer("deposit_classes", torch.as_tensor(deposit_classes, dtype=torch.int64))
        self.register_buffer("belongs_to", torch.zeros(32, dtype=torch.uint8))

    def forward(self, images):
        """uint8 images (N, C, H, W) to features (N, C_n, H_n, W_n), for the shared upper blocks to read out."""
        return self.lower(images)  # T_r(x)

    def restore(self, target):
        """Return the lower blocks that see the deposit classes: the module's own, which need no target."""
        return self.lower

    def hold(self, original_lower, target):
        """Remember the target that the deposit left. What the module knows, it has learnt."""
        self.belongs_to.copy_(self.identify(target))

    @staticmethod
    def identify(target):
        """Return the fingerprints of what a pruned module is read out by, T^(n-), and of the whole target."""
        return torch.cat([_identity(target.upper)[:HALF], _identity(target)[:HALF]])


class DifferenceModule(nn.Module):
    """T_r = Q(T_0^(-n) − T^(-n)): what separates the target's lower blocks from the original's, in a few bits.

    The weights of convolutions are quantised with one scale for each output channel (`packing.quantise`). What has one
    number a channel is half precision: BatchNorm's scales and shifts, and its statistics if the deposit changed them.

    Attributes
    ----------
    bits : int
        From 1 to 8.
    deposit_classes : torch.Tensor
        int64, (k,).
    belongs_to : torch.Tensor
        uint8, (32,): the fingerprint of the target that the difference is added to.
    codes, scales, halves : torch.Tensor
        Packed uint8, float32 and float16, each concatenated over the layers. All tensors are buffers: they are saved
        and move with the module.
    """

    preserved = "mean"  # `withdraw` takes the mean of the target's and its own, which are as good as the original's

    def __init__(self, lower, deposit_classes, bits, statistics=False):
        super().__init__()
        self.bits, self.statistics = bits, statistics
        self.register_buffer("deposit_classes", torch.as_tensor(deposit_classes, dtype=torch.int64))
        self.register_buffer("belongs_to", torch.zeros(32, dtype=torch.uint8))
        for name, content in self.taken_from(lower, lower).items():  # of the right shapes; `hold` fills them
            self.register_buffer(name, content)

    def hold(self, original_lower, target):
        """Take in the difference of a target's lower blocks from the original's, and remember the target."""
        for name, content in self.taken_from(original_lower, target.lower).items():
            setattr(self, name, content)
        self.belongs_to.copy_(self.identify(target))

    def forward(self, images):
        """Raise a `LirfError`: alone, a difference is no network."""
        raise LirfError(
            "a difference is no network, so it has no features of its own: call deposit_module.restore(target), or use "
            "container='pruned'"
        )

    def restore(self, target):
        """Return T^(-n) + T_r: a copy of the target's lower blocks with the difference added."""
        return self.added_to(copy.deepcopy(target.lower))

    @torch.no_grad()
    def added_to(self, lower):
        """Add the difference to lower blocks in place, and return them."""
        weights, vectors = self._tensors(lower)
        sizes = [weight.numel() for weight in weights]
        codes = unpack(self.codes, sum(sizes), self.bits).split(sizes)
        scales = self.scales.split([len(weight) for weight in weights])
        for weight, code, scale in zip(weights, codes, scales):
            weight += dequantise(code.view(weight.shape), scale, self.bits)
        for vector, half in zip(vectors, self.halves.split([len(vector) for vector in vectors])):
            vector += half
        return lower

    def fits(self, lower):
        """Return whether the difference has the shapes of some lower blocks."""
        weights, vectors = self._tensors(lower)
        codes = -(-sum(weight.numel() for weight in weights) // 8) * self.bits  # eight numbers in as many bytes as bits
        sizes = [codes, sum(map(len, weights)), sum(map(len, vectors))]
        return [len(self.codes), len(self.scales), len(self.halves)] == sizes

    @staticmethod
    def identify(target):
        """Return the fingerprint of what a difference is added to: the whole target."""
        return _identity(target)

    def _tensors(self, lower):
        """Return what is quantised, and what has one number a channel, each in the order of the layers."""
        parameters = list(lower.parameters())
        norms = [layer for layer in lower.modules() if isinstance(layer, nn.BatchNorm2d)]
        means = [value for layer in norms for value in (layer.running_mean, layer.running_var)]
        vectors = [value for value in parameters if value.ndim == 1] + means * self.statistics
        return [value for value in parameters if value.ndim > 1], vectors

    @torch.no_grad()
    def taken_from(self, original_lower, target_lower):
        """Return the buffers that hold original − target, by name."""
        ours, theirs = self._tensors(original_lower), self._tensors(target_lower)
        weights, vectors = ([a - b for a, b in zip(*both)] for both in zip(ours, theirs))
        codes, scales = zip(*(quantise(weight, self.bits) for weight in weights))
        packed = pack(torch.cat([code.flatten() for code in codes]), self.bits)
        return {"codes": packed, "scales": torch.cat(scales), "halves": torch.cat(vectors).half()}


def empty_module(target, deposit_classes, config):
    """Return a deposit module before the deposit: a pruned copy of the target's lower blocks, or no difference yet.

    The config's `container`, `keep`, `bits` and `batch_statistics` decide; it is on the target's device. Before the
    deposit, the target equals the original.
    """
    if config.container == "difference":
        statistics = config.batch_statistics == "updated"
        return DifferenceModule(target.lower, deposit_classes, config.bits, statistics).to(target.device)
    module = DepositModule(prune_lower(target.lower, config.keep), deposit_classes)
    module.belongs_to[:HALF] = module.identify(target)[:HALF]
    return module.to(target.device, memory_format=layout(target)).eval()


def round_module(deposit_module, bits):
    """Return a copy of a pruned module whose weights are rounded, and whose file holds them in a few bits.

    Parameters
    ----------
    deposit_module : DepositModule
        It isn't changed.
    bits : int
        16: half precision. From 1 to 8: as in a `DifferenceModule`, one scale for each output channel.

    Raises
    ------
    LirfError
        If `bits` is anything else, or if the module isn't a pruned one.
    """
    if bits not in (*range(1, 9), 16) or isinstance(bits, bool):
        raise LirfError(f"bits must be 16, or from 1 to 8, not {bits!r}")
    if not isinstance(deposit_module, DepositModule):
        raise LirfError(
            f"deposit_module must be a pruned one, not a {type(deposit_module).__name__}: that has its own bits"
        )
    rounded = copy.deepcopy(deposit_module)
    if bits == 16:
        weights = rounded.lower.state_dict().items()
        kept = {f"lower.{name}": value.half() if value.is_floating_point() else value for name, value in weights}
    else:
        packed = _all_of(rounded.lower, bits)
        kept = packed.taken_from(rounded.lower, _nothing(rounded.lower))
    rounded.stored = kept | {"bits": torch.tensor([bits])}
    rounded.stored |= {"deposit_classes": rounded.deposit_classes, "belongs_to": rounded.belongs_to}
    _unfold(rounded)
    return rounded


def _unfold(module):
    """Set the weights of a rounded module to what its file holds."""
    bits = int(module.stored["bits"])
    if bits == 16:
        module.lower.load_state_dict(
            {name.removeprefix("lower."): value for name, value in module.stored.items() if name.startswith("lower.")}
        )
        return
    packed = _all_of(module.lower, bits)
    for name in ("codes", "scales", "halves"):
        setattr(packed, name, module.stored[name])
    module.lower.load_state_dict(packed.added_to(_nothing(module.lower)).state_dict())


def _all_of(lower, bits):
    """Return a difference for lower blocks as a whole: from weights that are all 0."""
    return DifferenceModule(lower, [0], bits, statistics=True)


@torch.no_grad()
def _nothing(lower):
    """Return a copy of lower blocks with all weights and statistics 0."""
    empty = copy.deepcopy(lower)
    norms = [layer for layer in empty.modules() if isinstance(layer, nn.BatchNorm2d)]
    for value in (*empty.parameters(), *(each for norm in norms for each in (norm.running_mean, norm.running_var))):
        value.zero_()
    return empty


def module_bytes(deposit_module):
    """Return how many bytes a deposit module takes on disk."""
    return len(module_file(deposit_module))


def module_share(deposit_module, target):
    """Return a module's bytes as a share of what the lower blocks that it stands in for take, unpruned, in float32."""
    return module_bytes(deposit_module) / module_bytes(DepositModule(target.lower, deposit_module.deposit_classes))


def save_module(deposit_module, file):
    """Write a deposit module to one safetensors file, so that it can be carried away.

    Parameters
    ----------
    deposit_module : DepositModule or DifferenceModule
    file : str or pathlib.Path
        Replaced if it exists, and never left half written.

    Raises
    ------
    LirfError
        If the file can't be written.
    """
    try:
        write_file(Path(file), module_file(deposit_module))
    except OSError as error:
        raise LirfError(f"file {str(file)!r} can't be written: {error}") from None


def load_module(file, target, config):
    """Read a deposit module that `save_module` wrote.

    Parameters
    ----------
    file : str or pathlib.Path
    target : SplitNetwork
        The target that was left behind; it gives the module its shapes. `withdraw` checks that it is the right one.
    config : Config
        The knobs of the deposit: reads `container`, `keep`, `bits` and `batch_statistics`.

    Returns
    -------
    DepositModule or DifferenceModule

    Raises
    ------
    LirfError
        If the file can't be read, or holds a module of the other kind or of other shapes.
    """
    return read_module(file_content(file), file, target, config)


def file_content(file):
    """Return the bytes of a deposit module's file, or raise a `LirfError` if it can't be read."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise LirfError(f"file {str(file)!r} can't be read as a deposit module: {error}") from None


def read_module(content, file, target, config):
    """Return the deposit module that a file's content holds; as `load_module`, which reads the file first."""
    try:
        weights = safetensors.torch.load(content)
    except SafetensorError as error:
        raise LirfError(f"file {str(file)!r} can't be read as a deposit module: {error}") from None
    if "deposit_classes" not in weights:
        raise LirfError(f"file {str(file)!r} must hold deposit_classes, as every deposit module does")
    kind = "difference" if "codes" in weights and "bits" not in weights else "pruned"
    if kind != config.container:
        raise LirfError(f"file {str(file)!r} must hold a module of container={config.container!r}, not {kind!r}")
    deposit_module = empty_module(target, weights["deposit_classes"], config)
    if "bits" in weights:
        deposit_module = round_module(deposit_module, int(weights["bits"]))  # of the right shapes
    expected = {name: tuple(value.shape) for name, value in _contents(deposit_module).items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    more = sorted(found.keys() - expected.keys())
    if more:
        raise LirfError(f"file {str(file)!r} must hold no {more[0]}, since this target and config have none")
    for name in expected:
        if expected[name] != found.get(name):
            raise LirfError(
                f"file {str(file)!r} must hold {name} of shape {expected[name]}, as this target and config have, not "
                f"{found.get(name, 'nothing')}"
            )
    if "bits" in weights:
        deposit_module.stored = weights
        deposit_module.belongs_to.copy_(weights["belongs_to"])
        _unfold(deposit_module)
    else:
        deposit_module.load_state_dict(weights)
    return deposit_module


def _contents(deposit_module):
    """Return the tensors that a deposit module's file holds."""
    return getattr(deposit_module, "stored", None) or deposit_module.state_dict()


def module_file(deposit_module):
    """Return what a deposit module's file contains, in bytes."""
    return serialised(_contents(deposit_module))


def _identity(module):
    """Return the fingerprint of a module's weights as a tensor, uint8, (32,)."""
    digest = bytes.fromhex(fingerprint(*module.state_dict().values()))
    return torch.frombuffer(bytearray(digest), dtype=torch.uint8)
