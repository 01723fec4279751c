"""The knowledge bank: several deposits from one network, and any subset of them withdrawn.

Each deposit starts from the bank's current target, so the target forgets a little more each time. All networks share
the original's upper blocks T^(n-), which exist once.
"""

import copy
import dataclasses
import re
import typing
import warnings
from pathlib import Path

import pandas
import safetensors.torch
import torch
from torch import nn

from lirf_kit.artifacts import checksum, fingerprint, serialised
from lirf_kit.config import Config, LirfError, check_choice
from lirf_kit.method.bank_files import read_bank, write_bank
from lirf_kit.method.caching import load_or_deposit
from lirf_kit.method.containers import file_content, module_bytes, module_file, read_module, save_module
from lirf_kit.method.networks import SplitNetwork, build_network, penultimate, prepare, split
from lirf_kit.method.withdrawing import RecoveredNetwork, merge_logits


class BankNetwork(RecoveredNetwork):
    """T̃_S(x) = g(T(x)) + Σ_{i ∈ S} ḡ_i((T_r,i ∘ T^(n-))(x)), one formula for every input.

    ḡ_i takes the logits of module i's classes, g those of all classes that no withdrawn module holds.

    Attributes
    ----------
    target : SplitNetwork
        The bank's; it has forgotten every deposit.
    deposit_modules : nn.ModuleList
        The withdrawn modules, S.
    module_lowers : nn.ModuleList
        The lower blocks that stand for each of them.
    kept : torch.Tensor
        int64: the classes that were never deposited.
    preserved : {"target", "mean"}
        Where the logits of these come from: the target, or the mean over the target and the withdrawn modules.
    """

    def __init__(self, target, deposit_modules, module_lowers, kept, preserved):
        nn.Module.__init__(self)
        self.target, self.preserved = target, preserved
        self.deposit_modules, self.module_lowers = nn.ModuleList(deposit_modules), nn.ModuleList(module_lowers)
        self.register_buffer("kept", torch.as_tensor(kept, dtype=torch.int64, device=target.device))

    def forward(self, images):
        """uint8 images (N, C, H, W) to logits (N, K)."""
        logits = target_logits = self.target(images)  # T(x), (N, K)
        read = [self.target.upper(lower(images)) for lower in self.module_lowers]  # (T_r,i ∘ T^(n-))(x), (N, K) each
        for module, module_logits in zip(self.deposit_modules, read):
            logits = merge_logits(logits, module_logits, module.deposit_classes)
        if self.preserved == "mean":
            mean = torch.stack([target_logits, *read]).mean(dim=0)  # (N, K)
            logits = logits.index_copy(1, self.kept, mean[:, self.kept])
        return logits

    def features(self, images):
        """Return the target's and each withdrawn module's final-layer features side by side, (N, (1 + modules)·D)."""
        read = [penultimate(self.target.upper, lower(images)) for lower in self.module_lowers]  # (N, D) each
        return torch.cat([self.target.features(images), *read], dim=1)


@dataclasses.dataclass(frozen=True)
class _Account:
    """What one deposit left: its module, None while that is handed out, and what the bank remembers about it."""

    module: nn.Module | None
    classes: tuple[int, ...]
    whole: bool  # whether whole classes were deposited, not samples
    belongs_to: str  # the fingerprint that the module carries
    sha256: str  # of the module's file


class _State(typing.NamedTuple):
    """All that a deposit changes, replaced in a single step, or not at all."""

    target: SplitNetwork
    mark: str  # the target's fingerprint, as its deposit left it
    accounts: dict  # of str to _Account
    class_names: tuple[str, ...] | None


class KnowledgeBank:
    """A target, and a deposit module for everything that was taken out of it.

    ``len(bank)``, ``name in bank`` and ``for name in bank`` are about the modules that are in the bank now; a module
    can be handed out and brought back. ``bank[name]`` is a module.

    Parameters
    ----------
    original : SplitNetwork
        T_0. The bank copies it, so that nothing that you do to it later changes the bank.
    config : Config
        The knobs of every deposit, and `preserved`.
    teacher : {"original", "target"}
        What a pruned module learns from, from the second deposit on. With "original", the bank keeps T_0 while deposits
        are made, and never saves it. With "target", T_0 is gone, and the module learns from the target that its deposit
        starts from. A difference is always taken from that target.

    Attributes
    ----------
    config, teacher
        As given.
    """

    def __init__(self, original, config, teacher="original"):
        check_choice("teacher", teacher, ("original", "target"))
        cut = split(copy.deepcopy(original).eval(), config.split_after)
        cut.upper.requires_grad_(False)  # T^(n-)
        self.config, self.teacher = config, teacher
        self._original = cut if teacher == "original" else None
        self._made_from = _mark(original.layers)
        self._missing = set()  # names of modules whose files `load` couldn't use
        target = SplitNetwork(copy.deepcopy(cut.lower), cut.upper).eval()
        self._state = _State(target, _mark(target), {}, None)

    @property
    def target(self):
        """T after the last deposit; at first a copy of the original. Train a copy of it, never the bank's own."""
        return self._state.target

    @property
    def _accounts(self):
        return self._state.accounts

    @property
    def _class_names(self):
        return self._state.class_names

    @property
    def names(self):
        """The names of all deposits, the first one first, whether their modules are in the bank or handed out."""
        return tuple(self._accounts)

    def __iter__(self):
        return (name for name, account in self._accounts.items() if account.module is not None)

    def __len__(self):
        return sum(1 for _ in self)

    def __contains__(self, name):
        return name in self._accounts and self._accounts[name].module is not None

    def __getitem__(self, name):
        if name not in self:
            raise LirfError(self._absent(name))
        return self._accounts[name].module

    @property
    def table(self):
        """One row per deposit: its classes, the kind of its module, the bytes on disk, and where the module is."""
        rows = {}
        for name, account in self._accounts.items():
            where = {"bytes": None, "where": "handed out"}
            if account.module is not None:
                where = {"bytes": module_bytes(account.module), "where": "in the bank"}
            classes = ", ".join(self._class_names[number] for number in account.classes)
            rows[name] = {"classes": classes, "container": self.config.container} | where
        table = pandas.DataFrame.from_dict(rows, orient="index", columns=["classes", "container", "bytes", "where"])
        return table.astype({"bytes": "Int64"})

    def __repr__(self):
        return f"KnowledgeBank of {len(self.names)} deposits\n{self.table.to_string() if self.names else ''}".strip()

    def _repr_html_(self):
        return self.table.to_html(border=0)

    def deposit(self, name, deposit_set):
        """Take the knowledge of a deposit set out of the target, into a module with a name.

        A deposit that was made before is loaded (see `load_or_deposit`). If a deposit fails, or if you interrupt it,
        the bank stays as it was.

        Parameters
        ----------
        name : str
            Letters, digits, hyphens and underscores.
        deposit_set : ImageData
            Of the data set that the original was trained on.

        Raises
        ------
        LirfError
            If the name is taken, if the deposit set is of a different data set, if one of its classes was deposited
            before, if no class would be left, if the teacher is missing, or if the target was trained on since.
        """
        classes = self._check_deposit(name, deposit_set)
        self._check_unchanged()
        gone = [number for account in self._accounts.values() if account.whole for number in account.classes]
        teacher = self._original if self.names and self.teacher == "original" else None
        made, module = load_or_deposit(self.target, deposit_set, self.config, teacher, gone)
        target = SplitNetwork(made.lower, self.target.upper).eval()  # T^(n-) stays the one that all share
        target.history = made.history
        whole = deposit_set.deposit_classes is not None
        account = _Account(module, classes, whole, _hex(module), checksum(module_file(module)))
        self._state = _State(target, _mark(target), {**self._accounts, name: account}, tuple(deposit_set.class_names))

    def _check_deposit(self, name, deposit_set):
        """Return the classes of a deposit set, or raise a `LirfError` if it can't be deposited under this name."""
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]{1,60}", name):
            raise LirfError(f"name must be 1 to 60 letters, digits, hyphens and underscores, not {name!r}")
        if name in self._accounts:
            where = "in the bank" if name in self else "handed out: bring its module back"
            raise LirfError(f"name must be a new one: {name!r} is {where}")
        if not len(deposit_set):
            raise LirfError("deposit_set must hold at least one image, not none")
        num_classes, channels = self.target.upper[-1].out_features, len(self.target.lower[0].mean)
        shape = deposit_set.num_classes, deposit_set.images.shape[1]
        known = self._class_names or tuple(deposit_set.class_names)
        if shape != (num_classes, channels) or known != tuple(deposit_set.class_names):
            raise LirfError(
                f"deposit_set must be of the bank's data set, with {num_classes} classes and {channels} channels"
                f"{', ' + known[0] + ' to ' + known[-1] if self._class_names else ''}, not one with {shape[0]} classes "
                f"({deposit_set.class_names[0]} to {deposit_set.class_names[-1]}) and {shape[1]} channels"
            )
        classes = deposit_set.deposit_classes
        classes = tuple(int(number) for number in (deposit_set.labels.unique() if classes is None else classes))
        for other, account in self._accounts.items():
            shared = sorted(set(classes) & set(account.classes))
            if shared:
                raise LirfError(
                    f"deposit_set must not share classes with {other!r}, which has {self._class_names[shared[0]]}: the "
                    "logit of a class can come from one module only"
                )
        if len(self._deposited()) + len(classes) == num_classes:
            raise LirfError("deposit_set must leave a class that was never deposited: this one would be the last")
        if self.names and self.teacher == "original" and self._original is None:
            raise LirfError(
                "teacher='original' needs the original: give it to KnowledgeBank.load(folder, original), or set "
                "bank.teacher = 'target'"
            )
        return classes

    def withdraw(self, *names):
        """Plug some modules back in, without data and without training; the bank stays as it is.

        Pruned modules stand by themselves, so every subset is exact. A difference belongs on the target that its
        deposit left: differences are added one after the other, the last deposit's first, and that is exact if every
        later deposit is withdrawn too. Otherwise it is an approximation.

        Parameters
        ----------
        *names : str
            At least one, each once.

        Returns
        -------
        BankNetwork
            In evaluation mode.

        Raises
        ------
        LirfError
            If a name was never deposited, is handed out, or is given twice; or if the target or one of these modules
            was changed since its deposit.
        """
        if not names:
            raise LirfError("names must name at least one deposit, not none; bank.target is what is left without any")
        for name in names:
            if name not in self:
                raise LirfError(self._absent(name))
            if names.count(name) > 1:
                raise LirfError(f"names must name each deposit once, not {name!r} twice")
        self._check_unchanged(*names)
        chosen = [name for name in self if name in names]  # in the order of the deposits, however they were asked for
        lowers, network = {}, self.target
        for name in reversed(chosen):
            network = SplitNetwork(self[name].restore(network), self.target.upper)
            lowers[name] = network.lower
        kept = [number for number in range(self.target.upper[-1].out_features) if number not in self._deposited()]
        modules = [self[name] for name in chosen], [lowers[name] for name in chosen]
        return BankNetwork(self.target, *modules, kept, modules[0][0].preserved).eval()

    def withdraw_all(self):
        """Withdraw every module that is in the bank."""
        return self.withdraw(*self)

    def hand_out(self, name, file):
        """Write a module to a file, and take it out of the bank. Without this file, its knowledge is gone.

        Raises
        ------
        LirfError
            If the module isn't in the bank, was changed since its deposit, or if the file can't be written; then the
            module stays.
        """
        self._check_unchanged(name)
        save_module(self[name], file)
        self._set(name, None)

    def bring_back(self, file):
        """Take back a module that was handed out; return its name.

        Raises
        ------
        LirfError
            If the file can't be read, or holds anything but a module that this bank has handed out.
        """
        content = file_content(file)
        for name, account in self._accounts.items():
            if account.sha256 == checksum(content):
                if name in self:
                    raise LirfError(
                        f"file {str(file)!r} must hold a module that is handed out, but {name!r} is in the bank"
                    )
                self._set(name, read_module(content, file, self.target, self.config))
                self._missing.discard(name)
                return name
        module = read_module(content, file, self.target, self.config)  # names what is wrong with the file, if it can
        raise LirfError(f"file {str(file)!r} {_foreign(module, self._accounts)}")

    def _set(self, name, module):
        """Put a module into its place, or None."""
        account = dataclasses.replace(self._accounts[name], module=module)
        self._state = self._state._replace(accounts={**self._accounts, name: account})

    def _check_unchanged(self, *names):
        """Raise a `LirfError` unless the target, and the modules of these names, are what their deposits left."""
        wrong = [name for name in names if checksum(module_file(self[name])) != self._accounts[name].sha256]
        changed = ["bank.target"] * (_mark(self.target) != self._state.mark) + [f"module {name!r}" for name in wrong]
        if changed:
            raise LirfError(
                f"{changed[0]} must be as its deposit left it, but was changed since: load the bank from its folder, "
                "or make it again; train copies only (copy.deepcopy)"
            )

    def _deposited(self):
        """Return every class that was ever deposited."""
        return {number for account in self._accounts.values() for number in account.classes}

    def _absent(self, name):
        """Say why a module can't be had."""
        if name in self._accounts:
            return f"{name!r} is handed out: bring its module back first, with bank.bring_back(file)"
        return f"name must be one of {', '.join(map(repr, self)) or 'none yet'}, not {name!r}"

    def save(self, folder):
        """Write the bank to a folder: a file for the target, one for each module, and an index.

        The original isn't saved. A bank that was saved in the folder before is replaced in one step, or not at all.

        Parameters
        ----------
        folder : str or pathlib.Path
            Made if it doesn't exist.

        Raises
        ------
        LirfError
            If the folder can't be written, or holds a different bank; or if the target or a module was changed since
            its deposit.
        """
        self._check_unchanged(*self)
        contents = {"target": serialised(self.target.layers.state_dict())}
        contents |= {f"module-{name}": module_file(self[name]) for name in self}
        index = {
            "identity": _mark(self.target.upper),
            "original": self._made_from,
            "config": self.config.model_dump(mode="json"),
            "teacher": self.teacher,
            "num_classes": self.target.upper[-1].out_features,
            "class_names": self._class_names,
            "modules": {name: account.sha256 for name, account in self._accounts.items()},
            "accounts": {name: vars(account) | {"module": None} for name, account in self._accounts.items()},
        }
        missing = {f"module-{name}": self._accounts[name].sha256 for name in self._missing}
        write_bank(Path(folder), index, contents, missing)

    @classmethod
    def load(cls, folder, original=None):
        """Read a bank that `save` wrote. Loading runs no code.

        A module whose file is missing, damaged or of a different bank is named in a warning, and counts as handed out.
        The rest of the bank works. Once the right file is there again, load the bank anew, or use `bring_back`.

        Parameters
        ----------
        folder : str or pathlib.Path
        original : SplitNetwork, optional
            T_0, if its teaching is to go on: only needed for further deposits with `teacher` at "original".

        Returns
        -------
        KnowledgeBank

        Raises
        ------
        LirfError
            If the index or the target's file is missing or damaged, or if the original is a different one.
        """
        index, contents, faults = read_bank(Path(folder))
        config = Config(**index["config"])
        weights = safetensors.torch.load(contents["target"])
        target = build_network(config, len(weights["0.mean"]), index["num_classes"])
        target.layers.load_state_dict(weights)
        prepare(target)
        bank = cls(target, config, index["teacher"])
        bank._original, bank._made_from = None, index["original"]
        if original is not None:
            if _mark(original.layers) != bank._made_from:
                raise LirfError("original must be the network that this bank was made from, not a different one")
            lower = split(copy.deepcopy(original), config.split_after).lower
            bank._original = SplitNetwork(lower, bank.target.upper).eval()
        accounts = {
            name: _Account(**entry | {"classes": tuple(entry["classes"])}) for name, entry in index["accounts"].items()
        }
        class_names = index["class_names"] and tuple(index["class_names"])
        bank._state = bank._state._replace(accounts=accounts, class_names=class_names)
        for name in accounts:
            if f"module-{name}" in contents:
                file = index["files"][f"module-{name}"]
                bank._set(name, read_module(contents[f"module-{name}"], file, bank.target, config))
        bank._missing = {name for name in accounts if f"module-{name}" in faults}
        for name, fault in faults.items():
            warnings.warn(
                f"{name.replace('-', ' ', 1)} can't be withdrawn: {fault}; the rest of the bank works", stacklevel=2
            )
        return bank


def _mark(network):
    """Return the fingerprint of a network's weights."""
    return fingerprint(*network.state_dict().values())


def _hex(module):
    """Return the fingerprint that a deposit module carries, as hexadecimal digits."""
    return bytes(module.belongs_to.cpu().tolist()).hex()


def _foreign(module, accounts):
    """Say why a module isn't one that a bank handed out."""
    if _hex(module) not in {account.belongs_to for account in accounts.values()}:
        return "holds a module of a different bank"
    return "must hold a module as it was handed out; this one was changed since, or belongs to a different deposit"
