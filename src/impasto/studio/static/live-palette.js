// Color transfer from camera pictures to a style. It uses the closed form of impasto.color.transfer.monge_kantorovich in double precision.

const FAINT = 1e-4;
const ROUNDS = 28;
const IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1];

/** Compute mean and covariance of the colors of a picture (RGBA bytes) from a sample of its pixels. */
export function colorMoments(pixels, stride = 7) {
  const sum = [0, 0, 0];
  const products = new Array(9).fill(0);
  let count = 0;
  for (let at = 0; at < pixels.length; at += 4 * stride) {
    const color = [pixels[at] / 255, pixels[at + 1] / 255, pixels[at + 2] / 255];
    for (let i = 0; i < 3; i++) {
      sum[i] += color[i];
      for (let j = 0; j < 3; j++) products[3 * i + j] += color[i] * color[j];
    }
    count += 1;
  }
  const mean = sum.map((each) => each / count);
  return { mean, covariance: products.map((each, at) => each / count - mean[Math.floor(at / 3)] * mean[at % 3]) };
}

/** Interpolate between two measurements, so that the palette does not flicker. */
export function blended(before, now, share) {
  if (!before) return now;
  const part = (a, b) => a.map((each, at) => each + share * (b[at] - each));
  return { mean: part(before.mean, now.mean), covariance: part(before.covariance, now.covariance) };
}

/** Return the optimal transport map from one color distribution to another: matrix (9) and bias (3). */
export function palette(source, target) {
  const faint = (covariance) => covariance.map((each, at) => each + (at % 4 ? 0 : FAINT));
  const [root, inverse] = powers(faint(source.covariance));
  const [middle] = powers(product(product(root, faint(target.covariance)), root));
  const matrix = product(product(inverse, middle), inverse);
  const bias = target.mean.map((each, i) => each - [0, 1, 2].reduce((sum, j) => sum + matrix[3 * i + j] * source.mean[j], 0));
  return { matrix, bias };
}

/** Interpolate between the identity and a color map. */
export function partOfTheWay({ matrix, bias }, share) {
  return { matrix: matrix.map((each, at) => share * each + (1 - share) * IDENTITY[at]), bias: bias.map((each) => share * each) };
}

/** Return the square root of a symmetric positive matrix, and the inverse of this root, by Newton-Schulz iteration. */
function powers(matrix) {
  const size = matrix[0] + matrix[4] + matrix[8];
  let root = matrix.map((each) => each / size);
  let inverse = IDENTITY;
  for (let round = 0; round < ROUNDS; round++) {
    const step = product(inverse, root).map((each, at) => (at % 4 ? 0 : 1.5) - each / 2);
    root = product(root, step);
    inverse = product(step, inverse);
  }
  const scale = Math.sqrt(size);
  return [root.map((each) => each * scale), inverse.map((each) => each / scale)];
}

function product(a, b) {
  const found = new Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) found[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  }
  return found;
}
