// The webcam page. Frames go from the camera to a web worker of this page and back, and nowhere else.

import { ApiError, get, post } from './api.js';
import { $, h, lazyImage, say, set, tell, translate } from './dom.js';
import { blended, colorMoments, palette, partOfTheWay } from './live-palette.js';
import { LANGUAGES, chooseLanguage, languageNow, loadLanguage, onLanguage, preferredLanguage, t, useCatalog } from './texts.js';

const KEPT = 'impasto.live';
const FIRST_STYLE = 'starry-night';
/** There is one worker per core, up to this number. This gives twice the frame rate of two threads per frame. */
const MOST_PAINTERS = 4;
/** Weight of each new frame in the average of the colors. The palette adapts to a new scene within a second, without flicker. */
const SHARE = 0.15;
const FIGURES_MS = 2000;
const ENGINES = ['auto', 'wasm', 'webgpu'];

const asked = new URLSearchParams(location.search);
const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
const grabbed = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const shown = $('#picture').getContext('2d');
const styles = new Map();
const now = { style: '', size: 256, strength: 1, mirror: true, camera: '' };
const painters = [];
const flow = { ready: null, running: false, isFresh: true, colors: null, target: null, sent: 0, shown: 0, done: [], took: [], ask: 0 };
let facts = null;

async function begin() {
  useCatalog('live');
  await loadLanguage(preferredLanguage());
  setUpLanguages();
  restore();
  setUpControls();
  try {
    const [live, shelf] = await Promise.all([get('/live'), get('/styles')]);
    facts = live;
    draw(shelf.items);
    const first = [now.style, FIRST_STYLE].find((id) => styles.has(id)) ?? shelf.items[0]?.id;
    if (first) choose(first);
  } catch (error) {
    fail(error);
    return;
  }
  if (facts.runtime.here) load();
  else offerToFetch();
}

// ---- the runtime

function offerToFetch() {
  $('#fetch-card').hidden = false;
  say($('#fetch-words'), 'live.fetch_words', { megabytes: Math.round(facts.runtime.bytes / 1e6) });
  $('#fetch').addEventListener('click', async () => {
    $('#fetch').disabled = true;
    $('#fetching').hidden = false;
    clearError();
    try {
      facts = await post('/live/runtime');
      $('#fetch-card').hidden = true;
      load();
    } catch (error) {
      fail(error);
    }
    $('#fetch').disabled = false;
    $('#fetching').hidden = true;
  });
}

function load() {
  say($('#figures'), 'live.loading');
  addPainter(ENGINES.includes(asked.get('engine')) ? asked.get('engine') : 'auto');
}

/** The first worker selects the engine. If it selects the CPU, the other workers start, too. */
function addPainter(engine) {
  const painter = { worker: new Worker('/static/live-worker.js', { type: 'module' }), frames: 0, most: 0 };
  painters.push(painter);
  painter.worker.addEventListener('message', ({ data }) => heard(painter, data));
  painter.worker.addEventListener('error', () => fail(new ApiError({ code: 'engine', message: '' })));
  const threads = crossOriginIsolated ? counted('threads', 1) : 1;
  painter.worker.postMessage({ do: 'open', runtime: facts.runtime.address, network: facts.network.address, engine, threads });
}

/** Read a number from the address; used by benchmarks. */
function counted(name, usual) {
  const given = Number(asked.get(name));
  return Number.isInteger(given) && given >= 1 && given <= 16 ? given : usual;
}

function heard(painter, message) {
  if (message.say === 'failed') {
    if (message.during === 'frame') painter.frames -= 1;
    fail(new ApiError({ code: 'engine', message: message.message }));
  } else if (message.say === 'ready') {
    join(painter, message);
  } else {
    painter.frames -= 1;
    painted(message);
  }
}

function join(painter, message) {
  painter.most = message.engine === 'webgpu' ? 2 : 1;
  if (!flow.ready) {
    flow.ready = { engine: message.engine, threads: 0 };
    const usual = Math.min(navigator.hardwareConcurrency || 1, MOST_PAINTERS);
    for (let more = message.engine === 'wasm' ? counted('painters', usual) : 1; more > 1; more--) addPainter('wasm');
    say($('#figures'), 'live.ready');
    $('#start').disabled = false;
    document.body.dataset.ready = message.engine;
  }
  flow.ready.threads += message.threads;
  document.body.dataset.threads = flow.ready.threads;
  sendStyle();
}

// ---- the camera

async function start() {
  clearError();
  if (!navigator.mediaDevices?.getUserMedia) {
    fail(new ApiError({ code: 'insecure', message: '' }));
    return;
  }
  $('#start').disabled = true;
  try {
    await look();
    await listCameras();
  } catch (error) {
    const code = { NotAllowedError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none' }[error.name] ?? 'camera';
    fail(new ApiError({ code, message: '' }));
    return;
  } finally {
    $('#start').disabled = false;
  }
  $('#before').hidden = true;
  for (const id of ['pause', 'snapshot']) $(`#${id}`).disabled = false;
  $('#pause').focus();
  resume(true);
}

async function look() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  const which = now.camera ? { deviceId: { exact: now.camera } } : { facingMode: 'user' };
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 60 }, ...which };
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  await video.play();
  flow.colors = null;
  watch();
}

async function listCameras() {
  const all = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === 'videoinput');
  const current = video.srcObject.getVideoTracks()[0]?.getSettings().deviceId;
  $('#cameras').hidden = all.length < 2;
  $('#camera').replaceChildren(
    ...all.map((each, at) =>
      h('option', { text: each.label || String(at + 1), value: each.deviceId, selected: each.deviceId === current }),
    ),
  );
}

/** Do not paint the same frame twice. */
function watch() {
  if (!video.requestVideoFrameCallback) return;
  const source = video.srcObject;
  const next = () => {
    if (video.srcObject !== source) return;
    flow.isFresh = true;
    pump();
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
}

function resume(isRunning) {
  flow.running = isRunning;
  flow.done = [];
  flow.took = [];
  set($('#pause'), 'aria-pressed', String(!isRunning));
  say($('#pause'), isRunning ? 'live.pause' : 'live.go_on');
  if (!isRunning) say($('#figures'), 'live.paused');
  pump();
}

// ---- frames

function pump() {
  const painter = painters.find((each) => each.frames < each.most);
  if (!painter || !flow.running || !flow.target || !flow.isFresh || !video.videoWidth) return;
  if (video.requestVideoFrameCallback) flow.isFresh = false;
  painter.frames += 1;
  flow.sent += 1;
  const { size, strength } = now;
  const { data } = grab();
  flow.colors = blended(flow.colors, colorMoments(data), SHARE);
  const map = partOfTheWay(palette(flow.colors, flow.target), Math.min(strength, 1));
  const frame = { do: 'frame', pixels: data.buffer, width: size, height: size, map, strength, number: flow.sent };
  painter.worker.postMessage(frame, [data.buffer]);
}

/** Crop the center square of the camera picture. */
function grab() {
  const { size } = now;
  const { canvas } = grabbed;
  if (canvas.width !== size) Object.assign(canvas, { width: size, height: size });
  const side = Math.min(video.videoWidth, video.videoHeight);
  const left = (video.videoWidth - side) / 2;
  const top = (video.videoHeight - side) / 2;
  grabbed.setTransform(now.mirror ? -1 : 1, 0, 0, 1, now.mirror ? size : 0, 0);
  grabbed.drawImage(video, left, top, side, side, 0, 0, size, size);
  return grabbed.getImageData(0, 0, size, size);
}

/** Show a painted frame, unless a later frame was already shown. */
function painted({ pixels, width, height, number, took }) {
  pump();
  if (number < flow.shown) return;
  flow.shown = number;
  const { canvas } = shown;
  if (canvas.width !== width) Object.assign(canvas, { width, height });
  shown.putImageData(new ImageData(new Uint8ClampedArray(pixels), width, height), 0, 0);
  document.body.dataset.frames = String(Number(document.body.dataset.frames ?? 0) + 1);
  const at = performance.now();
  flow.done.push(at);
  flow.took.push(took);
  while (flow.done[0] < at - FIGURES_MS) {
    flow.done.shift();
    flow.took.shift();
  }
  if (flow.running && flow.done.length > 1) showFigures();
}

function showFigures() {
  const { done, took, ready } = flow;
  const perSecond = ((done.length - 1) * 1000) / (done.at(-1) - done[0]);
  const milliseconds = took.reduce((sum, each) => sum + each, 0) / took.length;
  const engine = ready.engine === 'webgpu' ? 'WebGPU' : t('live.threads', { count: ready.threads });
  const words = { perSecond: perSecond.toFixed(1), milliseconds: milliseconds.toFixed(0), engine };
  say($('#figures'), 'live.figures', words);
  Object.assign(document.body.dataset, { perSecond: perSecond.toFixed(2), milliseconds: milliseconds.toFixed(1) });
}

function save() {
  shown.canvas.toBlob((blob) => {
    const address = URL.createObjectURL(blob);
    const when = new Date().toISOString().slice(0, 19).replaceAll(/[:T]/g, '-');
    const link = h('a', { href: address, download: `impasto-live-${when}.png` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    $('#spoken').textContent = t('live.saved');
  }, 'image/png');
}

// ---- styles

function draw(items) {
  styles.clear();
  for (const style of items) styles.set(style.id, { ...style, measured: new Map() });
  $('#styles').replaceChildren(...items.map(card));
}

function card(style) {
  const press = h('button.style', { type: 'button', 'aria-pressed': 'false', on: { click: () => choose(style.id) } });
  press.dataset.style = style.id;
  const picture = h('span.style-picture', {}, lazyImage(style.preview, { width: '192', height: '192' }));
  const by = style.artist ? h('span.style-by', { text: style.artist.replace(/\s*\(.*$/, '') }) : h('span.style-by', { t: 'live.own' });
  press.append(picture, h('span.style-name', { text: style.title }), by);
  return h('li', {}, press);
}

async function choose(id) {
  now.style = id;
  keep();
  for (const press of document.querySelectorAll('[data-style]')) set(press, 'aria-pressed', String(press.dataset.style === id));
  await sendStyle();
}

/** The latest choice wins, regardless of the order of the responses. */
async function sendStyle() {
  const style = styles.get(now.style);
  if (!style || !flow.ready) return;
  const { size } = now;
  const ask = (flow.ask += 1);
  try {
    if (!style.measured.has(size)) style.measured.set(size, await get(`/live/styles/${style.id}?edge=${size}`));
  } catch (error) {
    if (ask === flow.ask) fail(error);
    return;
  }
  if (ask !== flow.ask) return;
  clearError();
  const { modulation, mean, covariance } = style.measured.get(size);
  flow.target = { mean, covariance: covariance.flat() };
  for (const { worker } of painters) worker.postMessage({ do: 'style', modulation });
  document.body.dataset.style = style.id;
}

// ---- controls and texts

function setUpControls() {
  $('#start').addEventListener('click', start);
  $('#pause').addEventListener('click', () => resume(!flow.running));
  $('#snapshot').addEventListener('click', save);
  $('#strength').addEventListener('input', () => change({ strength: Number($('#strength').value) / 100 }));
  $('#mirror').addEventListener('change', () => change({ mirror: $('#mirror').checked }));
  $('#camera').addEventListener('change', () => {
    change({ camera: $('#camera').value });
    start();
  });
  $('#size').addEventListener('change', () => {
    change({ size: Number($('#size').value) });
    sendStyle();
  });
  addEventListener('pagehide', () => video.srcObject?.getTracks().forEach((each) => each.stop()));
}

function change(what) {
  Object.assign(now, what);
  keep();
  showControls();
}

function showControls() {
  $('#strength').value = String(Math.round(now.strength * 100));
  tell($('#strength-value'), `${Math.round(now.strength * 100)} %`);
  $('#size').value = String(now.size);
  $('#mirror').checked = now.mirror;
}

function keep() {
  const { style, size, strength, mirror } = now;
  try {
    localStorage.setItem(KEPT, JSON.stringify({ style, size, strength, mirror }));
  } catch {
    // If storage is not available, the settings are lost on reload.
  }
}

function restore() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEPT) ?? '{}') ?? {};
  } catch {
    // If storage is not available, use the defaults.
  }
  const sizes = [...$('#size').options].map((each) => Number(each.value));
  if (typeof kept.style === 'string') now.style = kept.style;
  if (sizes.includes(kept.size)) now.size = kept.size;
  if (kept.strength >= 0 && kept.strength <= 1.5) now.strength = kept.strength;
  if (typeof kept.mirror === 'boolean') now.mirror = kept.mirror;
  showControls();
}

function setUpLanguages() {
  const select = $('#language');
  select.append(...Object.entries(LANGUAGES).map(([code, name]) => h('option', { value: code, text: name, lang: code })));
  select.value = languageNow();
  select.addEventListener('change', () => chooseLanguage(select.value));
  onLanguage(reword);
  reword();
}

function reword() {
  translate();
  document.title = t('live.title');
}

/** Show an error as one sentence, followed by the message of the studio or of the browser. */
function fail({ code, message }) {
  const known = ['network', 'token', 'engine', 'insecure', 'denied', 'none', 'camera', 'worker'];
  const key = code === 'network' && message ? 'live.error_fetch' : `live.error_${known.includes(code) ? code : 'other'}`;
  say($('#error'), key, { message: message ?? '' });
  $('#error').hidden = false;
}

function clearError() {
  $('#error').hidden = true;
}

begin();
