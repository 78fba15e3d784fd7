// The web workers that paint frames. Each one has a thread and a copy of the brush, and each frame goes to one worker.

/** There is one worker per core, up to this number. This gives twice the frame rate of two threads per frame. */
const MOST_PAINTERS = 4;
const ENGINES = ['auto', 'wasm', 'webgpu'];

const asked = new URLSearchParams(location.search);
const painters = [];
const state = { engine: '', threads: 0, on: null, runtime: '', network: '', sent: 0 };

/**
 * Start the workers with the runtime of the studio and a first brush. The first worker selects the engine. If it selects the CPU,
 * the other workers start, too. `on` has the functions ready, painted and failed.
 */
export function startPainters(runtime, network, on) {
  Object.assign(state, { runtime, network, on });
  add(ENGINES.includes(asked.get('engine')) ? asked.get('engine') : 'auto');
}

/** Return the engine and the number of threads; the engine is empty until the first worker is ready. */
export const engine = () => ({ name: state.engine, threads: state.threads });

/** Change the brush of all workers. Frames that are given later are painted with it. */
export function giveBrush(network) {
  state.network = network;
  for (const { worker } of painters) worker.postMessage({ do: 'brush', network });
}

/** Give a frame to a free worker; return whether there was one. */
export function giveFrame(makeFrame) {
  const painter = painters.find((each) => each.frames < each.most);
  if (!painter) return false;
  painter.frames += 1;
  state.sent += 1;
  const { data, width, height, ...more } = makeFrame();
  const frame = { do: 'frame', pixels: data.buffer, width, height, number: state.sent, ...more };
  painter.worker.postMessage(frame, [data.buffer]);
  return true;
}

function add(engine) {
  const painter = { worker: new Worker('/static/live-worker.js', { type: 'module' }), frames: 0, most: 0 };
  painters.push(painter);
  painter.worker.addEventListener('message', ({ data }) => heard(painter, data));
  painter.worker.addEventListener('error', () => state.on.failed(''));
  const threads = crossOriginIsolated ? counted('threads', 1) : 1;
  painter.worker.postMessage({ do: 'open', runtime: state.runtime, network: state.network, engine, threads });
}

/** Read a number from the address; used by benchmarks. */
function counted(name, usual) {
  const given = Number(asked.get(name));
  return Number.isInteger(given) && given >= 1 && given <= 16 ? given : usual;
}

function heard(painter, message) {
  if (message.say === 'ready') {
    join(painter, message);
    return;
  }
  if (message.say === 'picture' || message.during === 'frame') painter.frames -= 1;
  if (message.say === 'failed') state.on.failed(message.message);
  else state.on.painted(message);
}

function join(painter, message) {
  painter.most = message.engine === 'webgpu' ? 2 : 1;
  state.threads += message.threads;
  if (!state.engine) {
    state.engine = message.engine;
    const usual = Math.min(navigator.hardwareConcurrency || 1, MOST_PAINTERS);
    for (let more = message.engine === 'wasm' ? counted('painters', usual) : 1; more > 1; more--) add('wasm');
  }
  state.on.ready();
}
