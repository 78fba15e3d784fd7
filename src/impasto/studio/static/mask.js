// Masks of styles and of regions that stay unchanged: drawn by pointer or keyboard, or selected from shapes.

import { upload } from './api.js';
import { $, h, set, tell } from './dom.js';
import { clearWhere, registerPlace, showWhere, speak } from './notices.js';
import { change, on, state, styleOf } from './state.js';
import { onLanguage, t } from './texts.js';
import * as workspace from './workspace.js';

const EDGE = 768;
const PAUSE_MS = 500;
const MOST_UNDO = 20;
const KEPT = 'kept'; // layer of the region that stays unchanged
const KEPT_TINT = '#343a40';
const TINTS = ['#12b886', '#f08c00', '#4c6ef5', '#e64980', '#fab005', '#15aabf', '#be4bdb', '#82c91e'];
const SHAPES = {
  all: [[0, 0, 1, 1]],
  left: [[0, 0, 0.5, 1]],
  right: [[0.5, 0, 0.5, 1]],
  top: [[0, 0, 1, 0.5]],
  bottom: [[0, 0.5, 1, 0.5]],
};

const layers = new Map(); // id of a style, or KEPT -> { canvas, undo: [ImageData], isDrawn }
const view = h('canvas.mask', { tabindex: '0', role: 'application', label: 'mask.canvas', 'aria-describedby': 'mask-help' });
const ring = h('div.mask-ring', { 'aria-hidden': 'true' });
let known = [];
let active = null;
let isErasing = false;
let isOpen = false;
let cursor = { x: 0.5, y: 0.5, isDown: false };
let timer = null;
let version = 0;
let sending = Promise.resolve(true);

export function setUpMask() {
  registerPlace('masks', { place: $('#mask-error'), control: view, reveal: open });
  registerPlace('protect', { place: $('#mask-error'), control: $('#mask-protect'), reveal: open });
  workspace.board.layers.append(view, ring);
  $('#mask-toggle').addEventListener('click', () => (isOpen ? close() : open()));
  $('#mask-done').addEventListener('click', close);
  $('#mask-size').addEventListener('input', drawRing);
  for (const mode of ['draw', 'erase']) $(`#mask-${mode}`).addEventListener('change', () => (isErasing = mode === 'erase'));
  $('#mask-undo').addEventListener('click', undo);
  $('#mask-invert').addEventListener('click', () => act(invert));
  $('#mask-clear').addEventListener('click', clear);
  $('#mask-protect').addEventListener('change', ({ target }) => {
    clearWhere('protect');
    change('masks', { protect: target.value ? [target.value] : [] });
    showState();
  });
  $('#mask-shapes').append(
    ...[...Object.keys(SHAPES), 'middle'].map((name) =>
      h('button.chip', { type: 'button', t: `mask.shape.${name}`, on: { click: () => act((layer) => shape(layer, name)) } }),
    ),
  );
  view.addEventListener('pointerdown', stroke);
  view.addEventListener('pointermove', (event) => place(event));
  view.addEventListener('pointerleave', () => ring.classList.remove('is-here'));
  view.addEventListener('keydown', keys);
  on('photo', forgetAll);
  on('styles', follow);
  onLanguage(() => isOpen && chooseLayers());
}

function open() {
  if (isOpen) return;
  isOpen = true;
  set($('#mask-toggle'), 'aria-expanded', 'true');
  $('#mask-tools').hidden = false;
  const { width, height } = state.photo;
  const scale = EDGE / Math.max(width, height);
  set(view, 'width', Math.round(width * scale));
  set(view, 'height', Math.round(height * scale));
  chooseLayers();
  workspace.masking(true);
  drawRing();
  $('#board').scrollIntoView({ block: 'nearest' }); // the tools open below the picture
}

function close() {
  isOpen = false;
  cursor.isDown = false;
  set($('#mask-toggle'), 'aria-expanded', 'false');
  $('#mask-tools').hidden = true;
  workspace.masking(false);
  $('#mask-toggle').focus();
}

function forgetAll() {
  layers.clear();
  active = null;
  if (isOpen) close();
  showState();
}

/** A style that replaces another one takes over its mask. */
function follow() {
  const now = state.styles.map((each) => each.id);
  const gone = known.filter((id) => !now.includes(id));
  const come = now.filter((id) => !known.includes(id));
  for (const [index, id] of gone.entries()) {
    for (const [get, put, drop] of [
      [() => layers.get(id), (to, what) => layers.set(to, what), () => layers.delete(id)],
      [() => state.masks[id], (to, what) => (state.masks[to] = what), () => delete state.masks[id]],
    ]) {
      if (come[index] && get()) put(come[index], get());
      drop();
    }
    if (active === id) active = come[index] ?? null;
  }
  if (now.length !== known.length && [...layers.values()].some((layer) => layer.isDrawn)) changed();
  known = now;
  if (isOpen) chooseLayers();
  else showState();
}

/** One layer per style, and one for the region that stays unchanged. Styles without a drawn mask share the rest. */
function chooseLayers() {
  const ids = [...state.styles.map((each) => each.id), KEPT];
  if (!ids.includes(active)) active = ids[0];
  const choice = $('#mask-styles');
  choice.replaceChildren(
    ...ids.map((id) => {
      const radio = h('input', { type: 'radio', name: 'mask-style', value: id });
      radio.checked = id === active;
      radio.addEventListener('change', () => {
        active = id;
        redraw();
        showUndo();
      });
      const dot = h('span.dot', { 'aria-hidden': 'true' });
      dot.style.background = tintOf(id);
      return h('label.chip', {}, radio, dot, h('span', id === KEPT ? { t: 'mask.keep' } : { text: styleOf(id)?.title ?? id }));
    }),
  );
  redraw();
  showUndo();
}

const tintOf = (id) => (id === KEPT ? KEPT_TINT : TINTS[state.styles.findIndex((each) => each.id === id)]);

function layerOf(id) {
  if (!layers.has(id)) {
    const canvas = h('canvas', { width: view.width, height: view.height });
    layers.set(id, { canvas, undo: [], isDrawn: false });
  }
  return layers.get(id);
}

const penOf = (layer) => layer.canvas.getContext('2d', { willReadFrequently: true });
const radius = () => (Number($('#mask-size').value) / 200) * Math.max(view.width, view.height);

function redraw() {
  const context = view.getContext('2d');
  context.clearRect(0, 0, view.width, view.height);
  for (const id of [...state.styles.map((each) => each.id), KEPT]) {
    const layer = layers.get(id);
    if (!layer?.isDrawn) continue;
    const tinted = h('canvas', { width: view.width, height: view.height });
    const paint = tinted.getContext('2d');
    paint.drawImage(layer.canvas, 0, 0);
    paint.globalCompositeOperation = 'source-in';
    paint.fillStyle = tintOf(id);
    paint.fillRect(0, 0, tinted.width, tinted.height);
    context.globalAlpha = id === active ? 0.6 : 0.3;
    context.drawImage(tinted, 0, 0);
  }
  context.globalAlpha = 1;
}

// ------------------------------------------------------------------------------------------------ drawing

function act(how) {
  if (!active) return;
  const layer = layerOf(active);
  remember(layer);
  how(layer);
  layer.isDrawn = true;
  redraw();
  changed();
}

function remember(layer) {
  layer.undo.push({ pixels: penOf(layer).getImageData(0, 0, view.width, view.height), isDrawn: layer.isDrawn });
  if (layer.undo.length > MOST_UNDO) layer.undo.shift();
}

function undo() {
  const layer = layers.get(active);
  const last = layer?.undo.pop();
  if (!last) return;
  penOf(layer).putImageData(last.pixels, 0, 0);
  layer.isDrawn = last.isDrawn;
  redraw();
  changed();
}

function clear() {
  layers.delete(active);
  redraw();
  changed();
}

function invert(layer) {
  const pen = penOf(layer);
  pen.globalCompositeOperation = 'xor';
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, view.width, view.height);
  pen.globalCompositeOperation = 'source-over';
}

function shape(layer, name) {
  const pen = penOf(layer);
  const { width, height } = view;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = '#fff';
  for (const [x, y, w, v] of SHAPES[name] ?? []) pen.fillRect(x * width, y * height, w * width, v * height);
  if (name !== 'middle') return;
  pen.beginPath();
  pen.ellipse(width / 2, height / 2, width * 0.34, height * 0.4, 0, 0, 2 * Math.PI);
  pen.fill();
}

function line(layer, from, to) {
  const pen = penOf(layer);
  pen.globalCompositeOperation = isErasing ? 'destination-out' : 'source-over';
  pen.strokeStyle = '#fff';
  pen.lineWidth = 2 * radius();
  pen.lineCap = 'round';
  pen.beginPath();
  pen.moveTo(from.x * view.width, from.y * view.height);
  pen.lineTo(to.x * view.width + 0.01, to.y * view.height);
  pen.stroke();
  pen.globalCompositeOperation = 'source-over';
}

function place(event) {
  const box = view.getBoundingClientRect();
  cursor = { ...cursor, x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  drawRing();
  return { x: cursor.x, y: cursor.y };
}

function stroke(event) {
  if (event.button !== 0 || !active) return;
  event.preventDefault();
  view.focus({ preventScroll: true });
  view.setPointerCapture(event.pointerId);
  const layer = layerOf(active);
  remember(layer);
  layer.isDrawn = true;
  let last = place(event);
  line(layer, last, last);
  redraw();
  const draw = (moved) => {
    for (const each of moved.getCoalescedEvents?.() ?? [moved]) {
      const next = place(each);
      line(layer, last, next);
      last = next;
    }
    redraw();
  };
  const stop = () => {
    view.removeEventListener('pointermove', draw);
    view.removeEventListener('pointerup', stop);
    view.removeEventListener('pointercancel', stop);
    changed();
  };
  view.addEventListener('pointermove', draw);
  view.addEventListener('pointerup', stop);
  view.addEventListener('pointercancel', stop);
}

/** Keyboard drawing: arrow keys move the brush, Space starts and stops drawing. */
function keys(event) {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === 'Escape') return close();
  if (!by && event.key !== ' ' && event.key !== 'Enter') return undefined;
  event.preventDefault();
  const from = { x: cursor.x, y: cursor.y };
  if (by) {
    const far = event.shiftKey ? 0.1 : 0.025;
    cursor.x = Math.min(1, Math.max(0, cursor.x + by[0] * far));
    cursor.y = Math.min(1, Math.max(0, cursor.y + by[1] * far));
  } else {
    cursor.isDown = !cursor.isDown;
    if (cursor.isDown) remember(layerOf(active));
    speak(t(cursor.isDown ? 'mask.down' : 'mask.up'), { now: true });
  }
  if (cursor.isDown || !by) {
    const layer = layerOf(active);
    layer.isDrawn = true;
    line(layer, from, cursor);
    redraw();
    changed();
  }
  drawRing();
  return undefined;
}

function drawRing() {
  const share = Number($('#mask-size').value) / 100;
  tell($('#mask-size-value'), `${$('#mask-size').value} %`);
  $('#mask-size').style.setProperty('--filled', `${((Number($('#mask-size').value) - 2) / 38) * 100}%`);
  const width = share * (Math.max(view.width, view.height) / (view.width || 1));
  ring.style.setProperty('--x', `${cursor.x * 100}%`);
  ring.style.setProperty('--y', `${cursor.y * 100}%`);
  ring.style.setProperty('--wide', `${width * 100}%`);
  ring.classList.add('is-here');
  ring.classList.toggle('is-down', cursor.isDown);
}

// ------------------------------------------------------------------------------------------------ upload

function showUndo() {
  set($('#mask-undo'), 'disabled', !layers.get(active)?.undo.length);
  set($('#mask-clear'), 'disabled', !layers.get(active)?.isDrawn);
}

function changed() {
  showUndo();
  clearTimeout(timer);
  timer = setTimeout(sendNow, PAUSE_MS);
}

function sendNow() {
  clearTimeout(timer);
  timer = null;
  sending = send();
}

/** Wait until the masks are uploaded. Return false if an upload failed. */
export function masksAreThere() {
  if (timer !== null) sendNow();
  return sending;
}

/** Upload the masks. Return whether it succeeded. */
async function send() {
  version += 1;
  const mine = version;
  clearWhere('masks');
  const isDrawn = state.styles.some(({ id }) => layers.get(id)?.isDrawn);
  const isKept = Boolean(layers.get(KEPT)?.isDrawn);
  let isThere = true;
  try {
    const masks = {};
    for (const { id } of isDrawn ? state.styles : []) masks[id] = await sent(picture(id));
    const kept = isKept ? await sent(picture(KEPT)) : null;
    if (mine !== version) return sending;
    const hadSome = Object.keys(state.masks).length > 0 || state.kept;
    if (isDrawn || isKept || hadSome) change('masks', { masks, kept });
  } catch (error) {
    isThere = false;
    if (mine === version) showWhere(error, 'masks');
  }
  showState();
  return isThere;
}

async function sent(canvas) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  return (await upload(blob, 'impasto-mask.png')).id;
}

/** Render a mask: white where the style applies or the photo stays, black elsewhere. */
function picture(id) {
  const canvas = h('canvas', { width: view.width, height: view.height });
  const pen = canvas.getContext('2d');
  const isDrawn = layers.get(id)?.isDrawn;
  pen.fillStyle = isDrawn ? '#000' : '#fff';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (isDrawn) {
    pen.drawImage(layers.get(id).canvas, 0, 0);
    return canvas;
  }
  for (const [other, layer] of layers) {
    if (!layer.isDrawn || other === KEPT) continue;
    const dark = h('canvas', { width: view.width, height: view.height });
    const shade = dark.getContext('2d');
    shade.drawImage(layer.canvas, 0, 0);
    shade.globalCompositeOperation = 'source-in';
    shade.fillRect(0, 0, dark.width, dark.height);
    pen.drawImage(dark, 0, 0);
  }
  return canvas;
}

function showState() {
  const choice = $('#mask-protect');
  const [kept = ''] = state.protect;
  choice.value = [...choice.options].some((each) => each.value === kept) ? kept : '';
  $('#mask-toggle').classList.toggle('is-on', Object.keys(state.masks).length > 0 || Boolean(kept || state.kept));
}

