"""``python -m lirf_kit doctor``: is everything installed, and does the kit work on this machine?"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import time

import lirf_kit as lk

WRONG_GRADIENT = 1e-4  # relative; rounding makes about 1e-6
LEAST_FREE = 0.5  # GiB, for saved runs
SHORT_RUN, TOO_SLOW = 4, 40  # seconds: measured on two CPU cores, and too many for a class


def examine(configure, device, for_class):
    """Print what is installed, the device, the notebooks' kernel, and what to do about what is missing.

    `configure` returns the config; it is called only if all that it needs is there. For a class, it also looks for
    disk space, makes a short run on the device, and prints a line for the lecturer.
    """
    _say("python", platform.python_version())
    needed, for_notebooks = _requirements()
    missing = [name for name in needed + for_notebooks if not _print_version(name)]
    kernel = _kernel()
    _say("kernel", kernel or "missing")
    try:
        wrong = None if set(missing) & set(needed) else _machine(configure)
    except ImportError as error:  # its metadata is there, but it can't be imported
        wrong = missing.append(error.name or str(error))
    lacking = missing or ([] if kernel else ["the notebooks' kernel, python3"])
    if lacking:
        print("\nmissing: " + ", ".join(lacking))
        print('to install it, in the kit\'s folder: python -m pip install -e ".[dev]" (make lab does it for you)')
    elif not wrong:
        print("\nall there: make lab opens the notebooks")
    if for_class:
        problems = ["missing: " + ", ".join(lacking)] * bool(lacking) + ["wrong convolutions"] * bool(wrong)
        _print_for_lecturer(device, problems)


def _say(what, found):
    print(f"{what:<14} {found}")


def _print_for_lecturer(device, problems):
    """Print a line that says whether this machine is ready; if there are no problems yet, try it out first."""
    found = [f"python {platform.python_version()}", f"{platform.system()} {platform.machine()}"]
    found.append(f"{os.cpu_count()} cores")
    if not problems:
        try:
            measured, problems = _try_out(device)
            found += measured
        except lk.LirfError as error:
            problems = [str(error)]
    state = "not ready: " + "; ".join(problems) if problems else "ready"
    print(f"\nto send to your lecturer:\n{' | '.join([state, *found])}")


def _try_out(device):
    """Measure the free disk space and a short run; return both in words, and what is wrong."""
    from lirf_kit.artifacts import home
    from lirf_kit.pictures.figures import writable_folder

    free = shutil.disk_usage(writable_folder(home())).free / 2**30
    seconds, fault = _short_path(device)
    _say("disk", f"{free:.1f} GiB free where runs are saved")
    _say("short run", f"{seconds:.1f} s (where the notebooks were made: {SHORT_RUN} s)")
    problems = [f"less than {LEAST_FREE} GiB free in {home()}: make room, or set LIRF_KIT_HOME"] * (free < LEAST_FREE)
    problems += [fault] * bool(fault)
    if seconds > TOO_SLOW:
        problems.append("slow: run each notebook once before class, so that its networks are saved")
    return [f"{free:.1f} GiB free", f"short run {seconds:.1f} s"], problems


def _short_path(device):
    """Train, deposit and withdraw with a third of the epochs; return the seconds, and what is wrong with the result."""
    config = lk.preset("digits").replace(device=device, epochs=10, deposit_epochs=10)
    data = lk.load_dataset(config)
    parts = lk.split_by_class(data, config.deposit_classes)
    start = time.perf_counter()
    original = lk.train_original(data, config)
    target, deposit_module = lk.deposit(original, parts.deposit_set, config)
    seconds = time.perf_counter() - start
    recovered = lk.withdraw(target, deposit_module)
    left, back = lk.accuracy(target, parts.deposit_validation), lk.accuracy(recovered, parts.validation)
    numbers = f"Dep Acc {left:.0f} % in the target, Avg Acc {back:.0f} % recovered"
    return seconds, "" if left < 20 and back > 90 else f"the short run's numbers are wrong: {numbers}"


def _requirements():
    """Return the packages that the kit needs, and those that its notebooks and tests need, by its own metadata."""
    try:
        lines = importlib.metadata.requires("lirf-kit")
    except importlib.metadata.PackageNotFoundError:
        return ["lirf-kit"], []
    named = [(re.match(r"[\w.-]+", line).group(), line.partition(";")[2]) for line in lines]
    return [name for name, extra in named if not extra], [name for name, extra in named if "dev" in extra]


def _machine(configure):
    """Print what there is to say of the machine; return whether its convolutions are wrong."""
    import torch

    from lirf_kit.artifacts import home
    from lirf_kit.bench import gradient_errors

    config = configure()
    _say("device", f"{lk.resolve_device(config.device)} (asked for: {config.device})")
    _say("instructions", torch.backends.cpu.get_cpu_capability())
    _say("runs", home())
    wrong = [str(widths) for widths, error in gradient_errors().items() if not error < WRONG_GRADIENT]
    advice = (
        f"wrong: on this processor PyTorch gets the gradients of networks with widths {', '.join(wrong)} wrong; "
        "install another version of PyTorch, or set the environment variable ONEDNN_MAX_CPU_ISA=AVX before you start "
        "Python"
    )
    _say("convolutions", advice if wrong else "right")
    return bool(wrong)


def _print_version(name):
    """Print a package's version, and return whether it is there."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    _say(name, version or "missing")
    return version is not None


def _kernel():
    """Return the folder of the kernel that the notebooks ask for, or None."""
    if importlib.util.find_spec("jupyter_client") is None:
        return None
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager().find_kernel_specs().get("python3")
