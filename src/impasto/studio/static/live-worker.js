// Web worker that paints frames with a brush. It reads files of the studio and sends no data to the studio.

/** WebGPU is used only if its picture differs from the picture of the CPU by at most this value; the range is 1. */
const AGREES = 0.02;
const TRIED = 256;
const TIMED = 4;

let session = null;
let ort = null;
let provider = '';
let last = Promise.resolve();

const DOES = { open, brush: take, frame };

/** Messages are processed one after another, so that a brush is never replaced while it paints. */
self.onmessage = ({ data }) => {
  last = last.then(() => DOES[data.do](data)).catch((error) => {
    self.postMessage({ say: 'failed', during: data.do, message: String(error?.message ?? error).slice(0, 300) });
  });
};

/** Load the runtime and a first brush; `engine` is auto, wasm or webgpu. */
async function open({ runtime, network, engine, threads }) {
  const bytes = await fetched(network);
  const onProcessor = engine === 'webgpu' ? null : await opened('ort.wasm.min.mjs', runtime, bytes, 'wasm', threads);
  let note = '';
  if (engine !== 'wasm' && (await gpuIsThere())) {
    try {
      note = await tryGraphics(runtime, bytes, onProcessor, threads);
    } catch (error) {
      note = String(error?.message ?? error).slice(0, 200);
    }
  }
  if (!session && onProcessor) ({ session, ort, provider } = onProcessor);
  if (!session) throw new Error(note || 'WebGPU is not there');
  self.postMessage({ say: 'ready', engine: provider, threads: provider === 'wasm' ? threads : 0, note });
}

async function fetched(network) {
  const answer = await fetch(network);
  if (!answer.ok) throw new Error(`brush: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function opened(file, runtime, bytes, provider, threads) {
  const module = await import(runtime + file);
  module.env.wasm.wasmPaths = runtime;
  module.env.wasm.numThreads = threads;
  module.env.logLevel = 'error';
  return { ort: module, provider, session: await created(module, bytes, provider) };
}

function created(module, bytes, provider) {
  return module.InferenceSession.create(bytes, { executionProviders: [provider], graphOptimizationLevel: 'all' });
}

/** Software adapters are not faster than the CPU. */
async function gpuIsThere() {
  try {
    const adapter = await self.navigator.gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter || adapter.info?.architecture === 'swiftshader');
  } catch {
    return false;
  }
}

/** Use WebGPU if it gives the same picture as the CPU and is faster. */
async function tryGraphics(runtime, bytes, onProcessor, threads) {
  const onGraphics = await opened('ort.webgpu.min.mjs', runtime, bytes, 'webgpu', 1);
  if (onProcessor) {
    const [wanted, slow] = await tried(onProcessor);
    const [found, quick] = await tried(onGraphics);
    let worst = 0;
    for (let at = 0; at < wanted.length; at++) worst = Math.max(worst, Math.abs(wanted[at] - found[at]));
    if (!(worst <= AGREES)) return `WebGPU differs by ${worst.toFixed(3)}`;
    if (quick >= slow) return `WebGPU takes ${quick.toFixed(0)} ms, ${threads} threads ${slow.toFixed(0)} ms`;
  } else {
    await tried(onGraphics);
  }
  ({ session, ort, provider } = onGraphics);
  return '';
}

/** Paint a fixed test picture. Return the painted picture and the shortest time in milliseconds. */
async function tried(engine) {
  const pixels = new Uint8ClampedArray(4 * TRIED * TRIED);
  for (let at = 0; at < pixels.length; at++) pixels[at] = 128 + 90 * Math.sin(at / 97) + 30 * Math.sin((at * at) / 8191);
  const photo = planes(engine.ort, pixels, TRIED, TRIED);
  let picture;
  let quickest = Infinity;
  for (let time = 0; time < TIMED; time++) {
    const began = performance.now();
    ({ picture } = await engine.session.run({ photo }));
    quickest = Math.min(quickest, performance.now() - began);
  }
  return [picture.data, quickest];
}

/** Change the brush. Until the new one is loaded, the old one stays. */
async function take({ network }) {
  const former = session;
  session = await created(ort, await fetched(network), provider);
  await former.release();
}

/** Paint one frame. Input and output are RGBA bytes; `strength` blends from the camera picture (0) to the painting (1). */
async function frame({ pixels, width, height, strength, number, brush }) {
  const began = performance.now();
  const shown = new Uint8ClampedArray(pixels);
  if (strength > 0) {
    const { picture } = await session.run({ photo: planes(ort, shown, width, height) });
    blend(picture.data, shown, strength);
  }
  const took = performance.now() - began;
  self.postMessage({ say: 'picture', pixels: shown.buffer, width, height, number, brush, took }, [shown.buffer]);
}

function planes(runtime, pixels, width, height) {
  const count = width * height;
  const photo = new Float32Array(3 * count);
  for (let at = 0, from = 0; at < count; at++, from += 4) {
    photo[at] = pixels[from] / 255;
    photo[count + at] = pixels[from + 1] / 255;
    photo[2 * count + at] = pixels[from + 2] / 255;
  }
  return new runtime.Tensor('float32', photo, [1, 3, height, width]);
}

/** The painting may exceed [0, 1], so it is clamped before it is blended. */
function blend(painting, pixels, strength) {
  const count = pixels.length / 4;
  for (let channel = 0; channel < 3; channel++) {
    for (let at = channel * count, to = channel; to < pixels.length; at++, to += 4) {
      const painted = 255 * Math.min(1, Math.max(0, painting[at]));
      pixels[to] += strength * (painted - pixels[to]);
    }
  }
}
