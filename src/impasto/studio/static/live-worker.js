// Web worker that paints frames. It reads files of the studio and sends no data to the studio.

/** WebGPU is used only if its picture differs from the picture of the CPU by at most this value; the range is 1. */
const AGREES = 0.02;
const TRIED = 256;
const TIMED = 4;

let session = null;
let ort = null;
let modulation = null;

const DOES = { open, style: take, frame };

self.onmessage = async ({ data }) => {
  try {
    await DOES[data.do](data);
  } catch (error) {
    self.postMessage({ say: 'failed', during: data.do, message: String(error?.message ?? error).slice(0, 300) });
  }
};

/** Load the network; `engine` is auto, wasm or webgpu. */
async function open({ runtime, network, engine, threads }) {
  const answer = await fetch(network);
  if (!answer.ok) throw new Error(`network: ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const onProcessor = engine === 'webgpu' ? null : await opened('ort.wasm.min.mjs', runtime, bytes, 'wasm', threads);
  let note = '';
  if (engine !== 'wasm' && (await gpuIsThere())) {
    try {
      note = await tryGraphics(runtime, bytes, onProcessor, threads);
    } catch (error) {
      note = String(error?.message ?? error).slice(0, 200);
    }
  }
  if (!session && onProcessor) ({ session, ort } = onProcessor);
  if (!session) throw new Error(note || 'WebGPU is not there');
  const found = onProcessor?.session === session ? 'wasm' : 'webgpu';
  self.postMessage({ say: 'ready', engine: found, threads: found === 'wasm' ? threads : 0, note });
}

async function opened(file, runtime, bytes, provider, threads) {
  const module = await import(runtime + file);
  module.env.wasm.wasmPaths = runtime;
  module.env.wasm.numThreads = threads;
  module.env.logLevel = 'error';
  const options = { executionProviders: [provider], graphOptimizationLevel: 'all' };
  return { ort: module, session: await module.InferenceSession.create(bytes, options) };
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
  ({ session, ort } = onGraphics);
  return '';
}

/** Paint a fixed test picture. Return the painted picture and the shortest time in milliseconds. */
async function tried(engine) {
  const pixels = new Uint8ClampedArray(4 * TRIED * TRIED);
  for (let at = 0; at < pixels.length; at++) pixels[at] = 128 + 90 * Math.sin(at / 97) + 30 * Math.sin((at * at) / 8191);
  const count = engine.session.inputMetadata?.find((each) => each.name === 'modulation')?.shape?.[1] ?? 2360;
  const numbers = Float32Array.from({ length: count }, (_, at) => 1 + 0.4 * Math.sin(at));
  const feeds = fed(engine.ort, pixels, TRIED, TRIED, numbers, { matrix: [1, 0, 0, 0, 1, 0, 0, 0, 1], bias: [0, 0, 0] }, 1);
  let picture;
  let quickest = Infinity;
  for (let time = 0; time < TIMED; time++) {
    const began = performance.now();
    ({ picture } = await engine.session.run(feeds));
    quickest = Math.min(quickest, performance.now() - began);
  }
  return [picture.data, quickest];
}

function take(given) {
  modulation = Float32Array.from(given.modulation);
}

/** Paint one frame. Input and output are RGBA bytes. */
async function frame({ pixels, width, height, map, strength, number }) {
  const began = performance.now();
  const shown = new Uint8ClampedArray(pixels);
  if (modulation && strength > 0) {
    const { picture } = await session.run(fed(ort, shown, width, height, modulation, map, strength));
    write(picture.data, shown);
  }
  const took = performance.now() - began;
  self.postMessage({ say: 'picture', pixels: shown.buffer, width, height, number, took }, [shown.buffer]);
}

function fed(runtime, pixels, width, height, numbers, { matrix, bias }, strength) {
  const count = width * height;
  const photo = new Float32Array(3 * count);
  for (let at = 0, from = 0; at < count; at++, from += 4) {
    photo[at] = pixels[from] / 255;
    photo[count + at] = pixels[from + 1] / 255;
    photo[2 * count + at] = pixels[from + 2] / 255;
  }
  const tensor = (values, shape) => new runtime.Tensor('float32', Float32Array.from(values), shape);
  return {
    photo: new runtime.Tensor('float32', photo, [1, 3, height, width]),
    modulation: new runtime.Tensor('float32', numbers, [1, numbers.length]),
    strength: tensor([strength], [1]),
    matrix: tensor(matrix, [3, 3]),
    bias: tensor(bias, [3]),
  };
}

function write(planes, pixels) {
  const count = pixels.length / 4;
  for (let at = 0, to = 0; at < count; at++, to += 4) {
    pixels[to] = 255 * planes[at];
    pixels[to + 1] = 255 * planes[count + at];
    pixels[to + 2] = 255 * planes[2 * count + at];
  }
}
