"""Weights from files: safetensors, the one legacy reader, other band counts, and loading that names what is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import ConfigError, CorruptError, NotFoundError, UsageError
from ..registry import nearest

__all__ = ["adapt_bands", "convert_weights", "load_named", "read_pickled_weights", "read_weights", "write_weights"]

# Wrappers that training code puts around a state dict, and prefixes that wrapped modules put before each name.
_NESTS = ("state_dict", "model", "model_state_dict", "net")
_PREFIXES = ("module.", "model.", "backbone.", "encoder.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is a legacy .pt or .pth file, to be converted first.
        CorruptError: it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"no weights at {path}")
    if path.suffix.lower() in {".pt", ".pth", ".bin", ".ckpt", ".pkl"}:
        raise UsageError(
            f"{path} is a pickle, which can run code when read: `terraseek model convert {path} "
            f"{path.with_suffix('.safetensors').name}` makes a safetensors file of it"
        )
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise CorruptError(f"{path} is not a whole safetensors file ({error}): copy it again") from None


def read_pickled_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a legacy .pt or .pth file by torch's restricted unpickler, which runs no code.

    A state dict inside a checkpoint (under `state_dict`, `model`, ...) is found, a prefix that all names share
    (`module.`, ...) is taken off, everything that is no tensor is left out.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: it is damaged, or holds objects that only an unrestricted unpickler would make.
        UsageError: there are no named tensors in it.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"no weights at {path}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CorruptError(
            f"{path} is damaged, or holds more than tensors, which reading could run as code; it is refused. "
            "Save its state dict alone where it was made"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CorruptError(f"{path} is damaged ({type(error).__name__}): copy it again") from None
    state = _tensors(content)
    if not state:
        raise UsageError(f"{path} holds no named tensors: it is no state dict")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def convert_weights(source: str | Path, target: str | Path, *, dry_run: bool = False) -> dict[str, tuple[int, ...]]:
    """Write the tensors of a legacy .pt or .pth file as safetensors; returns name -> shape of what was written.

    With `dry_run` everything is read and checked, and nothing is written.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: it is damaged, or holds objects that only an unrestricted unpickler would make.
        UsageError: there are no named tensors in it, or `target` exists or does not end in .safetensors.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise UsageError(f"the target {target} must end in .safetensors")
    if target.exists():
        raise UsageError(f"{target} exists already: name another target, or remove it first")
    state = read_pickled_weights(source)
    if not dry_run:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        write_weights(state, partial)
        partial.replace(target)
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def write_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file; the same tensors always give the same bytes."""
    # Cloned: safetensors refuses tensors that share memory, and non-contiguous ones. Written here: safetensors' own
    # save_file makes files that only their owner may read.
    path.write_bytes(save({name: tensor.contiguous().clone() for name, tensor in state.items()}, {"format": "pt"}))


def load_named(module: nn.Module, state: Mapping[str, Tensor], source: str, what: str) -> None:
    """Load weights whose names and shapes must be exactly the module's.

    BatchNorm's `num_batches_tracked`, which older files lack and inference ignores, may be missing.

    Raises:
        ConfigError: names the missing, unexpected and wrongly shaped entries.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if names
    ]
    if problems:
        hint = f" ({unexpected[0]}: {nearest(unexpected[0], missing)})" if missing and len(unexpected) == 1 else ""
        raise ConfigError(f"{source} does not hold the weights of {what}: {'; '.join(problems)}{hint}")
    module.load_state_dict(dict(state), strict=False)


def adapt_bands(kernel_OIHW: Tensor, bands: int) -> Tensor:
    """The first convolution's kernel for another number of input bands.

    An image that is equal in all bands gives the same response as it gave before, for every number of bands:
    with fewer bands than before each gets the kernels' sum divided by their number; with more, band b takes the
    kernel of old band ``b mod I``, divided by how many bands share it. The first three bands of an image should
    therefore be red, green and blue where there are such.

    Examples:
        >>> adapt_bands(torch.tensor([[[[1.0]], [[2.0]], [[3.0]]]]), 4).flatten().tolist()
        [0.5, 2.0, 3.0, 0.5]
    """
    before = kernel_OIHW.shape[1]
    if bands == before:
        return kernel_OIHW
    if bands < before:
        return kernel_OIHW.sum(1, keepdim=True).expand(-1, bands, -1, -1) / bands
    taken = torch.arange(bands) % before
    shared = torch.bincount(taken, minlength=before)[taken]
    return kernel_OIHW[:, taken] / shared[:, None, None]


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    found = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if found:
        return found
    nested = (_tensors(content[name]) for name in _NESTS if name in content)
    return next(filter(None, nested), {})
