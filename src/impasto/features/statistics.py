"""Pure functions for feature statistics that do not depend on positions: Gram matrices and moments.

Every reduction is a mean over positions, so a statistic, and any loss on it, stays comparable when the picture size changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from impasto.errors import OptionError
from impasto.runtime.devices import is_complete
from impasto.tensors import FeatureMap, Gram, Mask


def gram_matrix(features: FeatureMap) -> Gram:
    """Compute the Gram matrix of a feature map, averaged over positions.

    For the (channels, positions) matrix F of one picture's features: ``G = F Fᵀ / positions``.

    Args:
        features: (batch, channels, height, width).

    Returns:
        (batch, channels, channels), symmetric, positive semi-definite, in the dtype of the features.

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
    """The first two moments of the features of one layer.

    Attributes:
        mean: (batch, channels).
        covariance: (batch, channels, channels), over positions, without Bessel's correction.

    Example:
        >>> import torch
        >>> m = Moments(torch.tensor([[2.0]]), torch.tensor([[[9.0]]]))
        >>> m.deviation.item(), m.gram.item()
        (3.0, 13.0)
    """

    mean: Tensor
    covariance: Tensor

    @property
    def gram(self) -> Gram:
        """The Gram matrix of the same features, (batch, channels, channels): covariance plus outer product of the mean."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each channel, (batch, channels)."""
        variance = torch.diagonal(self.covariance, dim1=1, dim2=2)
        return variance.clamp_min(1e-6).sqrt()

    def shifted(self, shift: float) -> "Moments":
        """Return the moments after a constant is added to all features: the mean is shifted, the covariance is unchanged."""
        return self if shift == 0 else Moments(self.mean + shift, self.covariance)

    def to(self, like: Tensor | torch.device) -> "Moments":
        """Move to a device, or to the device and the dtype of a tensor."""
        return Moments(self.mean.to(like), self.covariance.to(like))

    def possible(self) -> "Moments":
        """Clip negative eigenvalues of the covariance, which can occur in a blend, and return the nearest valid moments."""
        values, vectors = eigh(self.covariance)
        return Moments(self.mean, (vectors * values.clamp_min(0)[:, None, :]) @ vectors.transpose(1, 2))


def moments(features: FeatureMap) -> Moments:
    """Compute the mean and the covariance of the channels of a feature map over its positions.

    Args:
        features: (batch, channels, height, width), any floating type.

    Returns:
        Moments with mean (batch, channels) and covariance (batch, channels, channels), at least float32. For bfloat16 features
        the covariance is accumulated in float32 and rounded to bfloat16 once, which is fast on CPUs. Features are centered
        first, so the rounding error depends on their spread and not on their mean.

    Example:
        >>> import torch
        >>> m = moments(torch.tensor([[[[0.0, 2.0]]]]))
        >>> m.mean.item(), m.covariance.item()
        (1.0, 1.0)
    """
    mean, covariance = _Centered.apply(features.flatten(2).transpose(1, 2))  # type: ignore[no-untyped-call]
    return Moments(mean, covariance)


def joined_moments(parts: Iterable[tuple[float, Moments]]) -> Moments:
    """Compute the moments of a whole from those of its parts.

    Args:
        parts: for each part, its share of all positions, and its moments; the shares sum to 1. At least one part.

    Returns:
        The moments of the whole, in the type and on the device of the first part. Sums are in float64, because the covariance
        is a small difference between the Gram matrix and the product of means.

    Example:
        >>> import torch
        >>> zeros, twos = (moments(torch.full((1, 1, 1, 4), value)) for value in (0.0, 2.0))
        >>> whole = joined_moments([(0.5, zeros), (0.5, twos)])
        >>> whole.mean.item(), whole.covariance.item()
        (1.0, 1.0)
    """
    mean, gram, like = None, None, None
    for share, part in parts:
        here = Moments(part.mean.cpu().double(), part.covariance.cpu().double())
        mean = share * here.mean + (0 if mean is None else mean)
        gram = share * here.gram + (0 if gram is None else gram)
        like = part.mean if like is None else like
    assert mean is not None
    assert gram is not None
    assert like is not None
    return Moments(mean, gram - mean[:, :, None] * mean[:, None, :]).to(like)


class _Centered(torch.autograd.Function):
    """Mean and covariance of rows (batch, positions, channels); the gradient takes one matrix product instead of three.

    With X the centered rows and M positions: ``∂/∂x = X (Ḡ + Ḡᵀ) / M + ḡ / M``, where Ḡ and ḡ are the gradients with respect to
    covariance and mean. The gradient through the subtracted mean is zero.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(rows.dtype, torch.float32)
        rough = rows.sum(1, keepdim=True) / rows.shape[1]
        centered = rows - rough
        residual = centered.sum(1).to(dtype) / rows.shape[1]  # rounding error of the mean
        context.save_for_backward(centered)
        products = torch.stack([each.T @ each for each in centered]).to(dtype) / rows.shape[1]  # bmm would copy the rows
        return rough[:, 0].to(dtype) + residual, products - residual[:, :, None] * residual[:, None, :]

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (centered,) = context.saved_tensors
        of_mean, of_covariance = (gradient / centered.shape[1] for gradient in gradients)
        product = (of_covariance + of_covariance.transpose(1, 2)).to(centered.dtype)
        return torch.baddbmm(of_mean[:, None].to(centered.dtype), centered, product)


@dataclass(frozen=True)
class Guide:
    """A mask at the size of a layer: the positions to measure and the weight of each.

    Attributes:
        rows: (n,), row-major indices of the positions; None: all positions.
        shares: (n,), the weight of each position; the weights sum to 1.
        roots: (n, channels) or (n, 1), square roots of the shares. Repeating them for all channels makes multiplication faster.
        area: share of the picture that is measured, in [0, 1].
    """

    rows: Tensor | None
    shares: Tensor
    roots: Tensor
    area: float

    @staticmethod
    def of(guide: Mask, channels: int = 1, dtype: torch.dtype = torch.float32) -> "Guide | None":
        """Create the guide for a mask at a layer's size.

        Args:
            guide: (1, 1, height, width) in [0, 1].
            channels: number of channels of the features that will be measured.
            dtype: dtype of these features.

        Returns:
            The guide; None if the mask covers too few positions.
        """
        weights = guide.detach().flatten().cpu().double()  # MPS has no float64
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
    """Return the chosen indices, padded with other indices so that the count is a multiple of sixteen."""
    missing = -int(chosen.sum()) % _GROUP
    others = (~chosen).nonzero()[:missing, 0]
    return torch.cat([chosen.nonzero()[:, 0], others]).sort().values


def guided_moments(features: FeatureMap, guides: Sequence[Guide]) -> tuple[Moments, ...]:
    """Compute the mean and the covariance of the channels under each of several guides.

    ``μ_r = Σ_i w_ri x_i`` and ``Σ_r = Σ_i w_ri (x_i - μ_r)(x_i - μ_r)ᵀ``. Only the positions in a guide are processed, so
    regions that partition a picture take, together, about as long as the whole picture.

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
        Gatys et al. 2017, Controlling Perceptual Factors in Neural Style Transfer, equations 5-7; here ``w`` are the squares of
        the paper's guide values, and the moments include the mean as well as the Gram matrix.
    """
    rows = features.flatten(2).transpose(1, 2)[0]
    found = _Guided.apply(rows, *guides)  # type: ignore[no-untyped-call]
    return tuple(Moments(mean, covariance) for mean, covariance in zip(found[::2], found[1::2], strict=True))


class _Guided(torch.autograd.Function):
    """Means and covariances of rows (positions, channels) under several guides; gradient as in :class:`_Centered`.

    With Y the centered rows, each multiplied by the root of its share: ``∂/∂x_i = √w_i (Y (Ḡ + Ḡᵀ) + √w ⊗ ḡ)_i``.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, *guides: Guide) -> tuple[Tensor, ...]:
        dtype = torch.promote_types(rows.dtype, torch.float32)
        context.guides, context.shape, found, kept = guides, rows.shape, [], []
        for guide in guides:
            chosen = rows if guide.rows is None else rows.index_select(0, guide.rows)
            shares = guide.shares.to(rows.dtype)
            rough = shares @ chosen
            centered = torch.sub(*_grouped(chosen, rough)).view_as(chosen)
            residual = (shares @ centered).to(dtype)  # rounding error of the mean
            weighted = centered.mul_(guide.roots.to(rows.dtype))
            kept.append(weighted)
            found += [
                (rough.to(dtype) + residual)[None],
                ((weighted.T @ weighted).to(dtype) - residual[:, None] * residual)[None],
            ]
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
    """View groups of rows (n, channels) as longer rows, and repeat ``row`` to that length; short rows make operations slow."""
    group = _GROUP if len(rows) % _GROUP == 0 else 1
    return rows.reshape(-1, group * rows.shape[1]), row.repeat(group)


def precise(values: Tensor) -> Tensor:
    """Convert bfloat16 and float16 to float32 for loss computation; wider dtypes are unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@dataclass(frozen=True)
class Affine:
    """An affine map from the channels of one layer to another set of channels: ``y = matrix x + bias``.

    A slim encoder has such a map, called a *head*, for each layer. Heads are trained so that the mapped features, or their
    statistics, match those of the network that the encoder was distilled from.

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
        """Map the moments of features to the moments of the mapped features.

        This is exact, and much cheaper than mapping the features first: ``μ' = A μ + b`` and ``Σ' = A Σ Aᵀ``.
        """
        return Moments(measured.mean @ self.matrix.T + self.bias, self.matrix @ measured.covariance @ self.matrix.T)

    def compact(self) -> "Affine":
        """Return an equivalent map, up to a rotation of its output, with at most one more channel than its input.

        Lengths, distances and angles of the mapped features are preserved at a fraction of the cost.

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
    """Compute the square root of symmetric positive matrices, (batch, n, n), by the coupled Newton-Schulz iteration.

    The iteration uses only matrix products, so it is fast on any device and differentiable. After twelve iterations, the roots
    of all eigenvalues above a thousandth of the largest are correct to four digits. For smaller eigenvalues, the computed roots
    are too small, but this hardly affects the trace.

    Args:
        matrix: (batch, n, n), symmetric, positive semi-definite.
        iterations: number of iterations.

    Returns:
        The roots, (batch, n, n).

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
    """Compute the sum of the traces of the square roots of symmetric positive matrices, (batch, n, n): a scalar.

    The iterations of :func:`sqrtm` act on each eigenvalue independently. So one eigendecomposition gives the same value and
    gradient as the trace of :func:`sqrtm`. At a zero eigenvalue the gradient is finite because the iteration has not converged
    there. If the matrix is not finite, the result is NaN.

    Example:
        >>> import torch
        >>> round(float(root_trace(torch.diag(torch.tensor([4.0, 9.0]))[None])), 3)
        5.0
    """
    found: Tensor = _RootTrace.apply(matrix)  # type: ignore[no-untyped-call]
    return found


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues (batch, n), ascending, and eigenvectors (batch, n, n) of symmetric matrices.

    If the device does not implement the decomposition (MPS does not), it runs on the CPU.
    """
    values, vectors = torch.linalg.eigh(matrix if is_complete(matrix.device) else matrix.cpu())
    return values.to(matrix.device), vectors.to(matrix.device)


def qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors Q and R of a matrix; on devices where :func:`eigh` runs on the CPU, so does this function."""
    q, r = torch.linalg.qr(matrix if is_complete(matrix.device) else matrix.cpu())
    return q.to(matrix.device), r.to(matrix.device)


class _RootTrace(torch.autograd.Function):
    """``tr f(M)``, where f acts on eigenvalues. The gradient is ``f'(M)``, so the eigenvectors are not differentiated."""

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
    """Compute the square roots of eigenvalues (batch, n) with the iteration of :func:`sqrtm`."""
    size = values.norm(dim=1, keepdim=True).clamp_min(1e-12)
    y, z = values / size, torch.ones_like(values)
    for _ in range(iterations):
        t = (3 - z * y) / 2
        y, z = y * t, t * z
    root: Tensor = y * size.sqrt()
    return root


def blend(styles: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Blend the moments of several styles; weights need not sum to one and may be negative.

    Means and covariances are averaged; the weights are first divided by their sum. Published programs average Gram matrices.
    Averaging Gram matrices turns the differences between the styles' means into additional variance.

    Args:
        styles: the moments of each style at one layer, with the same shapes.
        weights: one number for each style.

    Returns:
        Moments with mean (batch, channels) and covariance (batch, channels, channels).

    Raises:
        OptionError: if the counts differ, or if the weights sum to zero or less.

    Example:
        >>> import torch
        >>> low, high = (Moments(torch.tensor([[each]]), torch.eye(1)[None]) for each in (0.0, 4.0))
        >>> blend([low, high], [1, 3]).mean.item()
        3.0
    """
    total = sum(weights)
    if len(styles) != len(weights):
        raise OptionError(f"{len(weights)} style weights were given for {len(styles)} styles; give one weight for each style")
    if total <= 0:
        raise OptionError(f"style weights {list(weights)} sum to {total:g}; their sum must be above 0: increase a positive one")
    shares = [weight / total for weight in weights]
    mean = torch.stack([share * style.mean for share, style in zip(shares, styles, strict=True)]).sum(0)
    covariance = torch.stack([share * style.covariance for share, style in zip(shares, styles, strict=True)]).sum(0)
    return Moments(mean, covariance)
