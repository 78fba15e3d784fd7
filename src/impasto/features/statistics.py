"""Pure feature statistics: what a style is, once positions are forgotten.

Every reduction is a mean over positions, so that a statistic (and any loss on it) survives a change of picture size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from impasto.errors import OptionError
from impasto.tensors import FeatureMap, Gram, Mask


def gram_matrix(features: FeatureMap) -> Gram:
    """Correlate the channels of a feature map, averaged over positions.

    With F the (channels, positions) matrix of one picture's features: ``G = F Fᵀ / positions``.

    Args:
        features: (batch, channels, height, width).

    Returns:
        (batch, channels, channels), symmetric, positive semi-definite, in the type of the features.

    Example:
        >>> import torch
        >>> gram_matrix(torch.full((1, 2, 3, 3), 2.0))[0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]

    Source:
        Gatys et al. 2016, equation 3, divided by the number of positions.
    """
    F = features.flatten(2)
    return F @ F.transpose(1, 2) / F.shape[-1]


@dataclass(frozen=True)
class Moments:
    """The first two moments of the features of one layer: the Gaussian that a style leaves there.

    Attributes:
        mean: (batch, channels).
        covariance: (batch, channels, channels), over positions, not Bessel-corrected.
    """

    mean: Tensor
    covariance: Tensor

    @property
    def gram(self) -> Gram:
        """The Gram matrix of the same features, (batch, channels, channels): covariance plus the mean's own."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each channel, (batch, channels)."""
        variance = torch.diagonal(self.covariance, dim1=1, dim2=2)
        return variance.clamp_min(1e-6).sqrt()

    def shifted(self, shift: float) -> "Moments":
        """Return the moments of the features plus a constant: the mean moves, the covariance stays."""
        return self if shift == 0 else Moments(self.mean + shift, self.covariance)

    def possible(self) -> "Moments":
        """Return the nearest moments that some features can have: what a blend made negative of the variances is dropped."""
        values, vectors = eigh(self.covariance)
        return Moments(self.mean, (vectors * values.clamp_min(0)[:, None, :]) @ vectors.transpose(1, 2))


def moments(features: FeatureMap) -> Moments:
    """Measure the mean and the covariance of the channels of a feature map over its positions.

    Args:
        features: (batch, channels, height, width), any floating type.

    Returns:
        Moments with mean (batch, channels) and covariance (batch, channels, channels), at least float32. Of bfloat16 features
        the covariance is summed in float32 and rounded to bfloat16 once, which is what the processor does fast; it is centered
        first, so that the rounding is relative to the spread and not to the mean.

    Example:
        >>> import torch
        >>> m = moments(torch.tensor([[[[0.0, 2.0]]]]))
        >>> m.mean.item(), m.covariance.item()
        (1.0, 1.0)
    """
    mean, covariance = _Centered.apply(features.flatten(2).transpose(1, 2))  # type: ignore[no-untyped-call]
    return Moments(mean, covariance)


class _Centered(torch.autograd.Function):
    """Mean and covariance of rows (batch, positions, channels), and their gradient in one product instead of three.

    With X the centered rows and M positions: ``∂/∂x = X (Ḡ + Ḡᵀ) / M + ḡ / M``, where Ḡ and ḡ are the gradients with respect to
    covariance and mean; what the centring adds to it sums to zero.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(rows.dtype, torch.float32)
        rough = rows.sum(1, keepdim=True) / rows.shape[1]
        centered = rows - rough
        left = centered.sum(1).to(wide) / rows.shape[1]  # what rounding left of the mean
        context.save_for_backward(centered)
        products = torch.stack([each.T @ each for each in centered]).to(wide) / rows.shape[1]  # bmm would copy the rows
        return rough[:, 0].to(wide) + left, products - left[:, :, None] * left[:, None, :]

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (centered,) = context.saved_tensors
        of_mean, of_covariance = (gradient / centered.shape[1] for gradient in gradients)
        product = (of_covariance + of_covariance.transpose(1, 2)).to(centered.dtype)
        return torch.baddbmm(of_mean[:, None].to(centered.dtype), centered, product)


@dataclass(frozen=True)
class Guide:
    """Where at the size of a layer something is measured: positions, and how much each counts.

    Attributes:
        rows: (n,), indices of the positions, row by row; None for all of them.
        shares: (n,), what each counts; they sum to 1.
        roots: (n, channels) or (n, 1), the roots of the shares; as wide as the features they are taken out of the rows faster.
        area: share of the whole picture that is measured, in [0, 1].
    """

    rows: Tensor | None
    shares: Tensor
    roots: Tensor
    area: float

    @staticmethod
    def of(guide: Mask, channels: int = 1, dtype: torch.dtype = torch.float32) -> "Guide | None":
        """Make the guide of a mask at a layer's size.

        Args:
            guide: (1, 1, height, width) in [0, 1].
            channels: of the features that will be measured.
            dtype: of these features.

        Returns:
            The guide; None where hardly a position is in the mask.
        """
        weights = guide.detach().flatten().cpu().double()  # Metal has no float64
        total = float(weights.sum())
        if total <= 0 or total**2 / float(weights.square().sum()) < _FEWEST_POSITIONS:
            return None
        chosen = weights > 1e-3 * weights.max()
        rows = None if float(chosen.float().mean()) > _NEARLY_ALL else _in_groups(chosen)
        shares = weights if rows is None else weights[rows]
        shares = shares / shares.sum()
        roots = shares.sqrt().to(dtype)[:, None].to(guide.device).expand(-1, channels).contiguous()
        rows = None if rows is None else rows.to(guide.device)
        return Guide(rows, shares.to(dtype).to(guide.device), roots, total / weights.numel())


_FEWEST_POSITIONS, _NEARLY_ALL, _GROUP = 4.0, 0.9, 16


def _in_groups(chosen: Tensor) -> Tensor:
    """Return the indices that are chosen, and of the others as many more as make the count a multiple of sixteen."""
    missing = -int(chosen.sum()) % _GROUP
    others = (~chosen).nonzero()[:missing, 0]
    return torch.cat([chosen.nonzero()[:, 0], others]).sort().values


def guided_moments(features: FeatureMap, guides: Sequence[Guide]) -> tuple[Moments, ...]:
    """Measure the mean and the covariance of the channels under each of several guides.

    ``μ_r = Σ_i w_ri x_i`` and ``Σ_r = Σ_i w_ri (x_i - μ_r)(x_i - μ_r)ᵀ``. Only the positions that a guide counts are looked at,
    so that regions which share a picture among them take about as long as the picture whole.

    Args:
        features: (1, channels, height, width), any floating type.
        guides: one for each region, at this layer's size.

    Returns:
        One :class:`Moments` for each guide; precision as in :func:`moments`.

    Example:
        >>> import torch
        >>> left = Guide.of(torch.tensor([[[[1.0, 1.0, 1.0, 1.0, 0.0]]]]))
        >>> (m,) = guided_moments(torch.tensor([[[[0.0, 2.0, 0.0, 2.0, 9.0]]]]), [left])
        >>> round(m.mean.item(), 4), round(m.covariance.item(), 4)
        (1.0, 1.0)

    Source:
        Gatys et al. 2017, Controlling Perceptual Factors in Neural Style Transfer, equations 5-7, with the guide's squares for
        their weights ``w`` and moments beside Gram matrices.
    """
    rows = features.flatten(2).transpose(1, 2)[0]
    found = _Guided.apply(rows, *guides)  # type: ignore[no-untyped-call]
    return tuple(Moments(mean, covariance) for mean, covariance in zip(found[::2], found[1::2], strict=True))


class _Guided(torch.autograd.Function):
    """Means and covariances of rows (positions, channels) under several guides; the gradient as in :class:`_Centered`.

    With Y the centered rows, each times the root of its share: ``∂/∂x_i = √w_i (Y (Ḡ + Ḡᵀ) + √w ⊗ ḡ)_i``.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, *guides: Guide) -> tuple[Tensor, ...]:
        wide = torch.promote_types(rows.dtype, torch.float32)
        context.guides, context.shape, found, kept = guides, rows.shape, [], []
        for guide in guides:
            chosen = rows if guide.rows is None else rows.index_select(0, guide.rows)
            shares = guide.shares.to(rows.dtype)
            rough = shares @ chosen
            centered = torch.sub(*_grouped(chosen, rough)).view_as(chosen)
            left = (shares @ centered).to(wide)  # what rounding left of the mean
            weighted = centered.mul_(guide.roots.to(rows.dtype))
            kept.append(weighted)
            found += [(rough.to(wide) + left)[None], ((weighted.T @ weighted).to(wide) - left[:, None] * left)[None]]
        context.save_for_backward(*kept)
        return tuple(found)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total: Tensor | None = None
        for index, (guide, weighted) in enumerate(zip(context.guides, context.saved_tensors, strict=True)):
            of_mean, of_covariance = (gradient[0].to(weighted.dtype) for gradient in gradients[2 * index : 2 * index + 2])
            roots = guide.roots.to(weighted.dtype)
            product = weighted @ (of_covariance + of_covariance.T)
            product = (product + torch.mul(*_grouped(roots.expand_as(weighted), of_mean)).view_as(product)).mul_(roots)
            if guide.rows is None:
                total = product if total is None else total + product
                continue
            total = weighted.new_zeros(context.shape) if total is None else total
            total[guide.rows] = product if index == 0 else product + total.index_select(0, guide.rows)
        return total, *(None for _ in context.guides)


def _grouped(rows: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """View rows (n, channels) in groups, and repeat the one row as often: short rows are slow to subtract and to multiply."""
    group = _GROUP if len(rows) % _GROUP == 0 else 1
    return rows.reshape(-1, group * rows.shape[1]), row.repeat(group)


def precise(values: Tensor) -> Tensor:
    """Widen bfloat16 and halves to float32, in which losses are summed; wider types stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@dataclass(frozen=True)
class Affine:
    """A linear map from the channels of one layer to another set of channels: ``y = matrix x + bias``.

    A slim encoder carries one for each layer, learned so that its features, or the statistics of them, speak in the channels
    of the network it was distilled from.

    Attributes:
        matrix: (channels out, channels in).
        bias: (channels out,).
    """

    matrix: Tensor
    bias: Tensor

    def features(self, features: FeatureMap) -> FeatureMap:
        """Map a feature map (batch, channels in, height, width) to (batch, channels out, height, width)."""
        matrix, bias = self.matrix.to(features.dtype), self.bias.to(features.dtype)
        return torch.nn.functional.conv2d(features, matrix[:, :, None, None], bias)

    def moments(self, measured: Moments) -> Moments:
        """Map the moments of features to the moments that the mapped features would have.

        Exact, and far cheaper than mapping the features first: ``μ' = A μ + b`` and ``Σ' = A Σ Aᵀ``.
        """
        return Moments(measured.mean @ self.matrix.T + self.bias, self.matrix @ measured.covariance @ self.matrix.T)

    def compact(self) -> "Affine":
        """Return the same map followed by a rotation into as few channels as it can fill: one more than come in.

        Lengths, distances and angles of what is mapped are the same, and it costs a fraction.

        Example:
            >>> head = Affine(torch.tensor([[3.0], [4.0], [0.0]]), torch.zeros(3))
            >>> [round(abs(value), 3) for value in head.compact().matrix[:, 0].tolist()]
            [5.0, 0.0]
        """
        joined = torch.cat([self.matrix, self.bias[:, None]], dim=1)
        if joined.shape[0] <= joined.shape[1]:
            return self
        root = torch.linalg.qr(joined.cpu(), mode="r").R.to(joined.device)
        return Affine(root[:, :-1], root[:, -1])


def sqrtm(matrix: Tensor, iterations: int = 12) -> Tensor:
    """Take the square root of symmetric positive matrices, (batch, n, n), by the coupled Newton-Schulz iteration.

    Only products of matrices: fast on any device and differentiable. Twelve iterations give four digits of every eigenvalue
    above a thousandth of the largest; the roots of smaller ones come out too small, which the trace hardly feels.

    Example:
        >>> import torch
        >>> [round(x, 3) for x in sqrtm(torch.diag(torch.tensor([4.0, 9.0]))[None])[0].diagonal().tolist()]
        [2.0, 3.0]

    Source:
        Higham 2008, Functions of Matrices, equation 6.35.
    """
    size = matrix.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    identity = torch.eye(matrix.shape[1], device=matrix.device, dtype=matrix.dtype).expand_as(matrix)
    Y, Z = matrix / size, identity
    for _ in range(iterations):
        T = (3 * identity - Z @ Y) / 2
        Y, Z = Y @ T, T @ Z
    root: Tensor = Y * size.sqrt()
    return root


def root_trace(matrix: Tensor) -> Tensor:
    """Sum the traces of the square roots of symmetric positive matrices, (batch, n, n): a scalar.

    The same number and gradient as those of the trace of :func:`sqrtm`, whose iterations change each eigenvalue by itself, from
    one eigendecomposition. The gradient stays finite where an eigenvalue is zero, since its root has not converged. Where the
    matrix is not finite, the result is not a number.

    Example:
        >>> import torch
        >>> round(float(root_trace(torch.diag(torch.tensor([4.0, 9.0]))[None])), 3)
        5.0
    """
    found: Tensor = _RootTrace.apply(matrix)  # type: ignore[no-untyped-call]
    return found


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors of symmetric matrices: (batch, n) and (batch, n, n).

    On Metal, which has no such function, it is computed on the processor.
    """
    values, vectors = torch.linalg.eigh(matrix.cpu() if matrix.device.type == "mps" else matrix)
    return values.to(matrix.device), vectors.to(matrix.device)


def qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors Q and R of a matrix; computed where :func:`eigh` is."""
    q, r = torch.linalg.qr(matrix.cpu() if matrix.device.type == "mps" else matrix)
    return q.to(matrix.device), r.to(matrix.device)


class _RootTrace(torch.autograd.Function):
    """``tr f(M)`` with f by eigenvalues, whose gradient is ``f'(M)``; PyTorch's would differentiate the eigenvectors too."""

    @staticmethod
    def forward(context: Any, matrix: Tensor) -> Tensor:
        if not bool(torch.isfinite(matrix).all()):
            context.save_for_backward(torch.full_like(matrix, torch.nan))
            return matrix.new_full((), torch.nan)
        values, vectors = eigh(matrix)
        with torch.enable_grad():
            leaf = values.clamp_min(0).requires_grad_()
            total = _root(leaf).sum()
            (slopes,) = torch.autograd.grad(total, leaf)
        context.save_for_backward((vectors * slopes[:, None]) @ vectors.transpose(1, 2))
        return total.detach()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (slope,) = context.saved_tensors
        found: Tensor = slope * gradient
        return found


def _root(values: Tensor, iterations: int = 12) -> Tensor:
    """Take the roots of eigenvalues (batch, n) as :func:`sqrtm` does."""
    size = values.norm(dim=1, keepdim=True).clamp_min(1e-12)
    y, z = values / size, torch.ones_like(values)
    for _ in range(iterations):
        t = (3 - z * y) / 2
        y, z = y * t, t * z
    root: Tensor = y * size.sqrt()
    return root


def blend(styles: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Blend the moments of several styles into those of one, by weights that need not sum to one and may be negative.

    Means and covariances are averaged, each with the weights divided by their sum: a manner between the styles. Averaging Gram
    matrices, as published programs do, would take what sets the styles' means apart for variety within the style.

    Raises:
        OptionError: if the counts differ or the weights sum to zero or less.
    """
    total = sum(weights)
    if len(styles) != len(weights):
        raise OptionError(f"{len(weights)} style weights were given for {len(styles)} styles; give one weight for each style")
    if total <= 0:
        raise OptionError(f"style weights {list(weights)} sum to {total:g}; their sum must be above 0: enlarge a positive one")
    shares = [weight / total for weight in weights]
    mean = torch.stack([share * style.mean for share, style in zip(shares, styles, strict=True)]).sum(0)
    covariance = torch.stack([share * style.covariance for share, style in zip(shares, styles, strict=True)]).sum(0)
    return Moments(mean, covariance)
