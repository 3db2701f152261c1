"""Any torch module as a population over flat parameters, with autograd's gradients: for networks whose gradients are
not worth writing out, and for those of users."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from fqi.errors import UserError
from fqi.networks.alignment import aligned

Maker = Callable[[], nn.Module]
_PROBES = 3  # random rows that show whether outputs are linear in the last layer


@dataclass(frozen=True)
class FromModule:
    """The architecture of what `make` returns: a module from inputs [B, D] to outputs [B, O] without state but its
    parameters. `make` must be picklable, and make the same shapes each time."""

    make: Maker
    columns: int  # D
    outputs: int  # O
    name: str  # in what is said of it
    halves: bool = False  # whether torch's autocast takes products and convolutions in bfloat16
    stackable, varies, recordable = False, False, False  # heads are called one by one

    def __post_init__(self) -> None:
        module = self._plan.module
        buffers = set(module.state_dict()) - {name for name, _ in module.named_parameters()}
        if buffers:
            raise UserError(
                f"{self.name}: the module keeps {', '.join(sorted(buffers))} beside its parameters, such as batch norm "
                "does, and each row must be valued by itself; take layer norm, or register it with persistent=False"
            )
        if not any(True for _ in module.parameters()):
            raise UserError(f"{self.name}: the module has no parameters to learn")
        with torch.no_grad():
            found = module(self._plan.probe)
        if not isinstance(found, torch.Tensor) or found.shape != (_PROBES, self.outputs):
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise UserError(
                f"{self.name}: for inputs {tuple(self._plan.probe.shape)} the module must return outputs "
                f"{(_PROBES, self.outputs)}, found {shape}"
            )

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan.of(self.make, self.columns)

    @property
    def parameters(self) -> int:
        return aligned(sum(math.prod(shape) for shape in self._plan.shapes.values()) + 1)

    def over(self, flat: torch.Tensor) -> Modules:
        return Modules(self, self._plan, flat)

    def varied(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return inputs

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is known of a module before any of its parameters is learned."""

    module: nn.Module  # a shell: its own parameters are never used
    probe: torch.Tensor  # [3, D]
    shapes: dict[str, tuple[int, ...]]  # of its parameters
    last: tuple[str, ...]  # those in which the outputs are linear; none where there are no such ones

    @classmethod
    def of(cls, make: Maker, columns: int) -> _Plan:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the CPU's alone: no other device's is touched
            module = make()
            probe = torch.rand(_PROBES, columns)
        shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
        return cls(module, probe, shapes, _last_layer(module, probe))


def _last_layer(module: nn.Module, probe: torch.Tensor) -> tuple[str, ...]:
    """The parameters of the last layer, if outputs are as many times as large as they are."""
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers:
        return ()
    name, layer = layers[-1]
    with torch.no_grad():
        before = module(probe)
        for parameter in layer.parameters():
            parameter.mul_(2)
        linear = torch.allclose(module(probe), 2 * before, rtol=1e-4, atol=1e-6)
    return tuple(f"{name}.{key}".lstrip(".") for key, _ in layer.named_parameters()) if linear else ()


class Modules:
    """Networks whose parameters are the rows of `flat` [P, n]. The last number of a row but for the padding is a gain
    by which outputs are multiplied; it is learned from nothing, and matters where no layer is the last one."""

    def __init__(self, architecture: FromModule, plan: _Plan, flat: torch.Tensor) -> None:
        self.architecture, self.plan, self.flat = architecture, plan, flat
        self.gradient = torch.zeros_like(flat)  # [P, n] what `backward` leaves
        self.sizes = [math.prod(shape) for shape in plan.shapes.values()]
        self.count = sum(self.sizes)
        self.module = plan.module.to(flat.device)
        self.gain = flat[:, self.count]

    def _named(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """One network's parameters by name, as views of its row [count]."""
        parts = torch.split(row, self.sizes)
        return {n: part.view(shape) for (n, shape), part in zip(self.plan.shapes.items(), parts, strict=True)}

    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """Each module as it is made, from a seed that its own generator draws; outputs begin at 0."""
        for row, generator in zip(self.flat, generators, strict=True):
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            with torch.random.fork_rng(devices=[]):  # modules draw from torch's own generator, which is put back
                torch.default_generator.manual_seed(seed)
                made = dict(self.architecture.make().named_parameters())
            for name, view in self._named(row[: self.count]).items():
                view.copy_(made[name].detach())
            row[self.count] = 1.0 if self.plan.last else 0.0
            for name in self.plan.last:
                self._named(row[: self.count])[name].zero_()

    def rescale(self, factor: torch.Tensor) -> None:
        """From now on every network's outputs are as many times as large, [P]; a gain of 0 becomes 1."""
        if not self.plan.last:
            self.gain.copy_(torch.where(self.gain == 0, torch.ones_like(factor), self.gain * factor))
            return
        for row, number in zip(self.flat, factor, strict=True):
            named = self._named(row[: self.count])
            for name in self.plan.last:
                named[name].mul_(number)

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs [P, B, D] to outputs [P, B, O], without what gradients would need."""
        if not inputs.shape[1]:  # not every module knows what to do with nothing
            return self.flat.new_zeros(len(self.flat), 0, self.architecture.outputs)
        return torch.stack([self._called(row[: self.count], head, inputs[head]) for head, row in enumerate(self.flat)])

    def _called(self, row: torch.Tensor, head: int, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.flat.device.type, torch.bfloat16, enabled=self.architecture.halves):
            found: torch.Tensor = torch.func.functional_call(self.module, self._named(row), (inputs,))
        return found.to(row.dtype) * self.gain[head]

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Inputs [P, B, D], each network's parameters, its outputs with their graph, and the outputs [P, B, O]."""
        rows, found = list[torch.Tensor](), list[torch.Tensor]()
        with torch.enable_grad():
            for head, row in enumerate(self.flat):
                leaf = row[: self.count].detach().requires_grad_()
                rows.append(leaf)
                found.append(self._called(leaf, head, inputs[head]))
        return [*rows, *found, torch.stack([one.detach() for one in found])]

    def backward(self, activations: list[torch.Tensor], slope: torch.Tensor) -> None:
        """The gradient of a loss whose slope with regard to the outputs is [P, B, O]; replaces what was there."""
        P = len(self.flat)
        for head, (leaf, outputs) in enumerate(zip(activations[:P], activations[P : 2 * P], strict=True)):
            (gradient,) = torch.autograd.grad(outputs, leaf, slope[head])
            self.gradient[head, : self.count] = gradient
