"""Which real images an image looks like: shortlists by two descriptors, then the likeness of their pixels.

The features of a network see what an image shows; but trained on photographs, they miss one copy in three among a
thousand brains. The spectrum, blind to moves, finds them (`docs/audit.md`). All are blind to where left is: a model
that mirrors what it copies does not hide. Equal input on one thread gives equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as functional
from torch import Tensor

FOREGROUND = -0.98
"""Pixels of a real image above this are the head; `mrigen prepare` sets what is outside to -1."""
NUM_FREQUENCIES = 8
"""Waves across the image, along either axis, up to which the spectrum goes."""
MIN_FOREGROUND = 16
"""Pixels below which an image is like no other."""
MIN_DEVIATION = 1e-3
"""Pixels that vary less, as a standard deviation in [-1, 1], have no likeness."""


def unit_features(extract: Callable[[Tensor], Tensor], images: Tensor, *, mirror: bool) -> Tensor:
    """Images (B, 1, X, Y) -> features (B, F) of unit length, so that their products are cosines.

    With `mirror`, the mean of the features of the image and of its mirror image along X: the same for both.
    """
    features = extract(images).float()
    if mirror:
        features = (features + extract(images.flip(2)).float()) / 2
    return functional.normalize(features, dim=1)


def unit_spectrum(images: Tensor) -> Tensor:
    """Images (B, 1, X, Y) -> the low end of their spectra (B, (2 * NUM_FREQUENCIES + 1)^2), of unit length.

    Roots of the moduli of the Fourier transform, without its phases and therefore blind to moves, but for what comes
    in at the edges; averaged with those of the mirror image. Blind to brightness and contrast besides.
    """
    images = images[:, 0].float()
    moduli = torch.fft.fft2(images - images.mean((1, 2), keepdim=True)).abs()
    bands = range(-NUM_FREQUENCIES, NUM_FREQUENCIES + 1)
    low = moduli[:, [k % images.shape[1] for k in bands]][:, :, [k % images.shape[2] for k in bands]]
    return functional.normalize(((low + low.flip(1)) / 2).sqrt().flatten(1), dim=1)


@dataclass(frozen=True)
class Shortlist:
    """The references with the highest cosines to each of Q queries, the best first; fewer than K while there are
    no more. `places` (Q, K) number the references in the order in which they came; -1 where there is none."""

    cosines: Tensor
    places: Tensor
    num_seen: int = 0

    @classmethod
    def empty(cls, num_queries: int, size: int) -> Self:
        """No reference yet; K is `size`."""
        return cls(torch.full((num_queries, size), -torch.inf), torch.full((num_queries, size), -1))

    def extended(self, queries: Tensor, references: Tensor, allowed: Tensor) -> Shortlist:
        """The shortlist once a block of references (R, F) has come too; `allowed` (Q, R) says which may be taken.

        Of equal cosines the earlier reference wins. Keeps (Q, K + R) numbers at a time.
        """
        size = self.places.shape[1]
        cosines = (queries @ references.T).cpu().masked_fill(~allowed, -torch.inf)
        places = torch.arange(self.num_seen, self.num_seen + len(references)).expand(len(queries), -1)
        places = places.masked_fill(~allowed, -1)
        cosines, order = torch.cat([self.cosines, cosines], 1).sort(dim=1, descending=True, stable=True)
        kept = torch.cat([self.places, places], 1).gather(1, order)
        return Shortlist(cosines[:, :size], kept[:, :size], self.num_seen + len(references))


@dataclass(frozen=True)
class Alignment:
    """How the first image lies best on the second: mirrored along X or not, then moved by (x, y) pixels."""

    correlation: float
    mirrored: bool
    shift: tuple[int, int]


def align(image: Tensor, candidates: Tensor, *, max_shift: int, mirror: bool) -> list[Alignment]:
    """The highest Pearson correlation of `image` (X, Y) with each of `candidates` (K, X, Y), in its foreground.

    Tried are all moves of up to `max_shift` pixels along each axis, with `mirror` of the mirror image too. Pixels that
    come in from outside repeat the edge. The foreground is that of the candidate, which is real; so the intensities
    may be scaled and shifted. A correlation that is undefined, for want of foreground or contrast, is 0. Ties go to
    the unmirrored image and then to the smallest move.
    """
    moves = _moves(max_shift)
    versions = [_moved(image, moves)] + ([_moved(image.flip(0), moves)] if mirror else [])
    moved = torch.cat(versions).flatten(1).double()  # (V, P); in single precision the sums below would cancel

    pixels = candidates.flatten(1).double()
    masks = (pixels > FOREGROUND).double()  # (K, P)
    counts = masks.sum(1)
    enough = counts.clamp(min=1)
    centred = (pixels - (pixels * masks).sum(1, keepdim=True) / enough[:, None]) * masks
    candidate_squares = centred.square().sum(1)
    sums, squares = moved @ masks.T, moved.square() @ masks.T  # (V, K)
    own_squares = squares - sums.square() / enough
    floor = MIN_DEVIATION**2 * enough
    defined = (own_squares > floor) & (candidate_squares > floor) & (counts >= MIN_FOREGROUND)
    scale = (own_squares.clamp(min=1e-12) * candidate_squares.clamp(min=1e-12)).sqrt()
    correlations = torch.where(defined, moved @ centred.T / scale, 0.0).clamp(-1.0, 1.0)

    best = correlations.cpu().numpy().argmax(0)
    return [
        Alignment(float(correlations[v, k]), bool(v >= len(moves)), moves[int(v) % len(moves)])
        for k, v in enumerate(best)
    ]


def aligned(image: Tensor, alignment: Alignment) -> Tensor:
    """`image` (X, Y) as it lies on the other one."""
    return _moved(image.flip(0) if alignment.mirrored else image, [alignment.shift])[0]


def _moves(max_shift: int) -> list[tuple[int, int]]:
    """All moves, the smallest first."""
    steps = range(-max_shift, max_shift + 1)
    return sorted(((x, y) for x in steps for y in steps), key=lambda move: (move[0] ** 2 + move[1] ** 2, move))


def _moved(image: Tensor, moves: list[tuple[int, int]]) -> Tensor:
    """`image` (X, Y) moved by each of `moves`: (M, X, Y)."""
    size_x, size_y = image.shape
    margin = max(max(abs(x), abs(y)) for x, y in moves)
    padded = functional.pad(image[None, None], (margin,) * 4, mode="replicate")[0, 0] if margin else image
    return torch.stack([padded[margin - x :, margin - y :][:size_x, :size_y] for x, y in moves])
