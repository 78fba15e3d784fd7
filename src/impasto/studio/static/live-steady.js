// A filter against flicker. Camera noise makes the strokes of successive frames differ a little, even if nothing moves.

/** Share of a new frame where it differs least from the picture on screen. */
const LEAST = 0.25;
/** From this difference on, in 8-bit levels, a new frame replaces the picture: something has moved. */
const MOVED = 24;

/**
 * Blend a new frame with the picture on screen, pixel by pixel: small differences gradually, large ones at once.
 * Both are RGBA; `before` is a Float32Array, which is changed, so that rounding does not stop the blending.
 */
export function steady(before, now) {
  for (let at = 0; at < now.length; at += 4) {
    const [red, green, blue] = [now[at] - before[at], now[at + 1] - before[at + 1], now[at + 2] - before[at + 2]];
    const difference = Math.max(Math.abs(red), Math.abs(green), Math.abs(blue));
    const share = Math.min(1, LEAST + ((1 - LEAST) * difference) / MOVED);
    before[at] += share * red;
    before[at + 1] += share * green;
    before[at + 2] += share * blue;
    before[at + 3] = 255;
  }
}
