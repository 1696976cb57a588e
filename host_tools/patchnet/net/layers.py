"""Layers: the steps of a network, each said in full."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = ("relu6", "relu", "none")


@dataclass(frozen=True)
class Layer:
    """One step of a chain. `kind` is "conv" (dense k x k, activation) or "bottleneck" (inverted: 1x1 expand, depthwise
    k x k, 1x1 project; activations after the first two).

    Input h x w x cin, output oh x ow x cout, padding kernel // 2, `cexp` expanded channels
    (equal to cin, with `expand` False, when there is no expansion convolution; 0 for a conv).
    `residual`: the input is added to the output, which then has its shape.
    """

    kind: str
    h: int
    w: int
    cin: int
    cexp: int
    cout: int
    kernel: int
    stride: int
    expand: bool = False
    residual: bool = False
    act: str = "relu6"

    def fault(self) -> str:
        """What is wrong with it by itself: wanted and got; "" for nothing."""
        kinds, bottleneck = ("conv", "bottleneck"), self.kind == "bottleneck"
        for name, got, fits, wanted in (
            ("kind", self.kind, self.kind in kinds, " or ".join(kinds)),
            ("act", self.act, self.act in ACTIVATIONS, " or ".join(ACTIVATIONS)),
            ("stride", self.stride, self.stride >= 1, "1 or more"),
            ("kernel", self.kernel, self.kernel % 2 == 1, "an odd number"),
            ("cexp", self.cexp, self.cexp == self.cin if bottleneck and not self.expand else self.cexp >= bottleneck,
             "cin" if bottleneck and not self.expand else "channels of the expansion"),
        ):  # fmt: skip
            if not fits:
                return f"{name}: wanted {wanted}, got {got}"
        return ""

    @property
    def oh(self) -> int:
        return (self.h + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def ow(self) -> int:
        return (self.w + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, nothing recomputed."""
        if self.kind == "conv":
            return self.oh * self.ow * self.kernel**2 * self.cin * self.cout
        expand = self.h * self.w * self.cin * self.cexp if self.expand else 0
        return expand + self.oh * self.ow * self.cexp * (self.kernel**2 + self.cout)

    @property
    def weights(self) -> int:
        """Weights, biases not counted."""
        if self.kind == "conv":
            return self.kernel**2 * self.cin * self.cout
        expand = self.cin * self.cexp if self.expand else 0
        return expand + self.cexp * (self.kernel**2 + self.cout)
