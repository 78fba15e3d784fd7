// The webcam page. Pictures go from the camera to a web worker of this page and back, and nowhere else.

import { ApiError, get, post } from './api.js';
import { $, h, lazyImage, say, set, tell, translate } from './dom.js';
import { engine, giveBrush, giveFrame, startPainters } from './live-painters.js';
import { canRecord, isRecording, record, savePicture, stopRecording } from './live-saving.js';
import { cameras, closeCamera, grab, hasPicture, isPhoto, openCamera, openPhoto, tellsFrames } from './live-source.js';
import { steady } from './live-steady.js';
import { LANGUAGES, chooseLanguage, languageNow, loadLanguage, onLanguage, preferredLanguage, t, useCatalog } from './texts.js';

const KEPT = 'impasto.live';
const FIRST_BRUSH = 'starry-night';
const FIGURES_MS = 2000;

const shown = $('#picture').getContext('2d');
const brushes = new Map();
const now = { brush: '', size: 256, strength: 1, mirror: true, camera: '' };
const flow = { running: false, isFresh: true, shown: 0, screen: null, done: [], took: [] };
let facts = null;

async function begin() {
  useCatalog('live');
  await loadLanguage(preferredLanguage());
  setUpLanguages();
  restore();
  setUpControls();
  try {
    const [live, found] = await Promise.all([get('/live'), get('/live/brushes')]);
    facts = live;
    draw(found.items);
  } catch (error) {
    fail(error);
    return;
  }
  $('#no-brushes').hidden = brushes.size > 0;
  if (!brushes.size) return;
  choose([now.brush, FIRST_BRUSH].find((id) => brushes.has(id)) ?? brushes.keys().next().value);
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
  const failed = (message) => fail(new ApiError({ code: 'engine', message }));
  startPainters(facts.runtime.address, brushes.get(now.brush).network, { ready, painted, failed });
}

function ready() {
  const { name, threads } = engine();
  document.body.dataset.threads = threads;
  if (!document.body.dataset.ready) {
    say($('#figures'), 'live.ready');
    for (const id of ['start', 'photo']) $(`#${id}`).disabled = false;
    document.body.dataset.ready = name;
  }
  pump();
}

// ---- camera and photo

async function start() {
  clearError();
  if (!navigator.mediaDevices?.getUserMedia) {
    fail(new ApiError({ code: 'insecure', message: '' }));
    return;
  }
  $('#start').disabled = true;
  try {
    await openCamera(now.camera, refresh);
    await listCameras();
  } catch (error) {
    const code = { NotAllowedError: 'denied', NotFoundError: 'none', OverconstrainedError: 'none' }[error.name] ?? 'camera';
    fail(new ApiError({ code, message: '' }));
    return;
  } finally {
    $('#start').disabled = false;
  }
  show();
  $('#pause').focus();
}

async function listCameras() {
  const { all, current } = await cameras();
  $('#cameras').hidden = all.length < 2;
  $('#camera').replaceChildren(
    ...all.map((each, at) =>
      h('option', { text: each.label || String(at + 1), value: each.deviceId, selected: each.deviceId === current }),
    ),
  );
}

async function takePhoto() {
  const [file] = $('#photo-file').files;
  $('#photo-file').value = '';
  if (!file) return;
  clearError();
  try {
    await openPhoto(file);
  } catch {
    fail(new ApiError({ code: 'photo', message: '' }));
    return;
  }
  show();
  $('#snapshot').focus();
}

/** Show the picture instead of the start card. A photo is painted once, and again after each change. */
function show() {
  stopRecording();
  $('#before').hidden = true;
  $('#sources').hidden = false;
  for (const id of ['pause', 'mirror']) $(`#${id}`).disabled = isPhoto();
  $('#record').disabled = isPhoto() || !canRecord(shown.canvas);
  $('#snapshot').disabled = false;
  flow.screen = null;
  resume(true);
}

function resume(isRunning) {
  Object.assign(flow, { running: isRunning, done: [], took: [] });
  set($('#pause'), 'aria-pressed', String(!isRunning));
  say($('#pause'), isRunning ? 'live.pause' : 'live.go_on');
  if (!isRunning) say($('#figures'), 'live.paused');
  refresh();
}

// ---- frames

/** Paint the present picture as soon as a worker is free. */
function refresh() {
  flow.isFresh = true;
  pump();
}

/** The same frame is not painted twice. */
function pump() {
  if (!engine().name || !flow.running || !flow.isFresh || !hasPicture()) return;
  const { size, strength, mirror, brush } = now;
  const given = giveFrame(() => {
    const { data, width, height } = grab(size, mirror && !isPhoto());
    return { data, width, height, strength, brush };
  });
  if (given && (tellsFrames || isPhoto())) flow.isFresh = false;
}

/** Show a painted frame, unless a later frame was already shown or another brush was chosen. */
function painted({ pixels, width, height, number, brush, took }) {
  pump();
  if (number < flow.shown || brush !== now.brush) return;
  flow.shown = number;
  shown.putImageData(steadied(new Uint8ClampedArray(pixels), width, height), 0, 0);
  Object.assign(document.body.dataset, { frames: Number(document.body.dataset.frames ?? 0) + 1, brush });
  measure(took);
}

/** Reduce flicker. A photo, and the first frame after a change of the size or the source, are shown as they are. */
function steadied(pixels, width, height) {
  const { canvas } = shown;
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height });
    flow.screen = null;
  }
  if (isPhoto() || !flow.screen) flow.screen = Float32Array.from(pixels);
  else steady(flow.screen, pixels);
  return new ImageData(new Uint8ClampedArray(flow.screen), width, height);
}

function measure(took) {
  const at = performance.now();
  flow.done.push(at);
  flow.took.push(took);
  while (flow.done[0] < at - FIGURES_MS) {
    flow.done.shift();
    flow.took.shift();
  }
  if (isPhoto()) say($('#figures'), 'live.painted', { milliseconds: took.toFixed(0), engine: engineName() });
  else if (flow.running && flow.done.length > 1) showFigures();
}

function showFigures() {
  const { done, took } = flow;
  const perSecond = ((done.length - 1) * 1000) / (done.at(-1) - done[0]);
  const milliseconds = took.reduce((sum, each) => sum + each, 0) / took.length;
  const words = { perSecond: perSecond.toFixed(1), milliseconds: milliseconds.toFixed(0), engine: engineName() };
  say($('#figures'), 'live.figures', words);
  Object.assign(document.body.dataset, { perSecond: perSecond.toFixed(2), milliseconds: milliseconds.toFixed(1) });
}

function engineName() {
  const { name, threads } = engine();
  return name === 'webgpu' ? 'WebGPU' : t('live.threads', { count: threads });
}

// ---- saving

async function snapshot() {
  await savePicture(shown.canvas);
  $('#spoken').textContent = t('live.saved');
}

function toggleRecording() {
  if (isRecording()) stopRecording();
  else record(shown.canvas, recorded);
  showRecording();
}

function recorded() {
  showRecording();
  $('#spoken').textContent = t('live.saved_video');
}

function showRecording() {
  set($('#record'), 'aria-pressed', String(isRecording()));
  say($('#record'), isRecording() ? 'live.stop_recording' : 'live.record');
}

// ---- brushes

function draw(items) {
  for (const brush of items) brushes.set(brush.id, brush);
  $('#brushes').replaceChildren(...items.map(card));
}

function card(brush) {
  const press = h('button.style', { type: 'button', 'aria-pressed': 'false', on: { click: () => choose(brush.id) } });
  press.dataset.brush = brush.id;
  const picture = h('span.style-picture', {}, brush.preview && lazyImage(brush.preview, { width: '192', height: '192' }));
  const artist = brush.artist.replace(/\s*\(.*$/, '');
  const by = h('span.style-by', artist || brush.origin === 'shipped' ? { text: artist } : { t: 'live.own' });
  press.append(picture, h('span.style-name', { text: brush.title }), by);
  return h('li', {}, press);
}

function choose(id) {
  if (id === now.brush && engine().name) return;
  giveBrush(brushes.get(id).network);
  for (const press of document.querySelectorAll('[data-brush]')) set(press, 'aria-pressed', String(press.dataset.brush === id));
  change({ brush: id });
}

// ---- controls and texts

function setUpControls() {
  for (const id of ['start', 'to-camera']) $(`#${id}`).addEventListener('click', start);
  for (const id of ['photo', 'to-photo']) $(`#${id}`).addEventListener('click', () => $('#photo-file').click());
  $('#photo-file').addEventListener('change', takePhoto);
  $('#pause').addEventListener('click', () => resume(!flow.running));
  $('#snapshot').addEventListener('click', snapshot);
  $('#record').addEventListener('click', toggleRecording);
  $('#strength').addEventListener('input', () => change({ strength: Number($('#strength').value) / 100 }));
  $('#mirror').addEventListener('change', () => change({ mirror: $('#mirror').checked }));
  $('#camera').addEventListener('change', () => {
    change({ camera: $('#camera').value });
    start();
  });
  $('#size').addEventListener('change', () => {
    stopRecording(); // a video has one size
    change({ size: Number($('#size').value) });
  });
  addEventListener('pagehide', closeCamera);
}

function change(what) {
  Object.assign(now, what);
  keep();
  showControls();
  if (isPhoto()) refresh();
}

function showControls() {
  $('#strength').value = String(Math.round(now.strength * 100));
  tell($('#strength-value'), `${Math.round(now.strength * 100)} %`);
  $('#size').value = String(now.size);
  $('#mirror').checked = now.mirror;
}

function keep() {
  const { brush, size, strength, mirror } = now;
  try {
    localStorage.setItem(KEPT, JSON.stringify({ brush, size, strength, mirror }));
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
  if (typeof kept.brush === 'string') now.brush = kept.brush;
  if (sizes.includes(kept.size)) now.size = kept.size;
  if (kept.strength >= 0 && kept.strength <= 1) now.strength = kept.strength;
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
  const known = ['network', 'token', 'engine', 'insecure', 'denied', 'none', 'camera', 'photo'];
  const key = code === 'network' && message ? 'live.error_fetch' : `live.error_${known.includes(code) ? code : 'other'}`;
  say($('#error'), key, { message: message ?? '' });
  $('#error').hidden = false;
}

function clearError() {
  $('#error').hidden = true;
}

begin();
