"""The solvers: small pure functions that lead a noisy latent from one noise level to a lower one, in one table.

Settings, the HTTP API, help and the studies take their names from here, so this module loads without torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Level(NamedTuple):
    """A noise level, at which a latent is alpha * x0 + sigma * noise; `log_snr` is log(alpha / sigma)."""

    alpha: float
    sigma: float
    log_snr: float


CLEAN = Level(1.0, 0.0, math.inf)

StepFunction = Callable[["Tensor", Sequence["Tensor"], Sequence[Level], "Tensor | None"], "Tensor"]
"""`step(noisy, estimates, levels, noise)` -> the latents one level further.

`estimates` are the last clean latents that the network saw in noisy ones, at most `num_estimates` of them, and the
newest last; `levels` are those at which they were seen, and the one to go to; `noise` is standard normal noise of the
latents' shape, or None for a solver that asks for none.
"""


@dataclass(frozen=True)
class Solver:
    """One way to integrate; diffusers' schedulers are the oracles in the tests."""

    step: StepFunction
    order: int
    """The error falls as num_steps ** -order: of the end point, or, with noise, of the spread."""
    num_estimates: int = 1
    """Clean latents that a step looks at."""
    stochastic: bool = False
    """Whether every step adds noise of its own."""


def ddim_step(
    noisy: Tensor, estimates: Sequence[Tensor], levels: Sequence[Level], noise: Tensor | None = None
) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eq. 12 with its noise term zero)."""
    x0, (here, there) = estimates[-1], levels[-2:]
    direction = (noisy - here.alpha * x0) / here.sigma
    return there.alpha * x0 + there.sigma * direction


def dpmpp_2m_step(noisy: Tensor, estimates: Sequence[Tensor], levels: Sequence[Level], noise: Tensor | None) -> Tensor:
    """One step of DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): DDIM's, from an extrapolated clean latent."""
    # The last step, to sigma = 0, stays first order: log_snr is infinite there.
    if len(estimates) < 2 or levels[-1].sigma == 0.0:
        return ddim_step(noisy, estimates, levels)
    (before, here, there), (last_x0, x0) = levels, estimates
    ratio = (here.log_snr - before.log_snr) / (there.log_snr - here.log_snr)
    return ddim_step(noisy, [(1.0 + 0.5 / ratio) * x0 - 0.5 / ratio * last_x0], levels)


def ddpm_step(noisy: Tensor, estimates: Sequence[Tensor], levels: Sequence[Level], noise: Tensor | None) -> Tensor:
    """One ancestral step: DDIM with eta = 1, which is DDPM's posterior (Song et al. 2021, eq. 12 and 16).

    Written so that it holds where the variance is not preserved, too (Kingma et al. 2021, eq. 31).
    """
    assert noise is not None
    x0, (here, there) = estimates[-1], levels[-2:]
    spread = there.sigma / here.sigma * math.sqrt(here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2)
    direction = (noisy - here.alpha * x0) / here.sigma
    return there.alpha * x0 + math.sqrt(there.sigma**2 - spread**2) * direction + spread * noise


SOLVERS = {
    "ddim": Solver(ddim_step, order=1),
    "dpmpp-2m": Solver(dpmpp_2m_step, order=2, num_estimates=2),
    "ddpm": Solver(ddpm_step, order=1, stochastic=True),
}

if TYPE_CHECKING:
    SolverName = str
else:  # a type checker takes no computed Literal; pydantic does
    SolverName = Literal[tuple(SOLVERS)]
