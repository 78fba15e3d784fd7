// Masks of styles and of regions that stay unchanged. They are drawn by pointer or keyboard, or selected from shapes.

import { upload } from './api.js';
import { Brush } from './brush.js';
import { $, h, set } from './dom.js';
import { clearWhere, registerPlace, showWhere } from './notices.js';
import { change, on, state, styleOf } from './state.js';
import { onLanguage } from './texts.js';
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
const brush = new Brush({
  label: 'mask.canvas',
  help: 'mask-help',
  slider: $('#mask-size'),
  shown: $('#mask-size-value'),
  begin,
  line,
  drawn: redraw,
  end: changed,
  escape: close,
});
const { view } = brush;
let known = [];
let active = null;
let isErasing = false;
let isOpen = false;
let timer = null;
let version = 0;
let sending = Promise.resolve(true);

export function setUpMask() {
  registerPlace('masks', { place: $('#mask-error'), control: view, reveal: open });
  registerPlace('protect', { place: $('#mask-error'), control: $('#mask-protect'), reveal: open });
  workspace.board.layers.append(view, brush.ring);
  $('#mask-toggle').addEventListener('click', () => (isOpen ? close() : open()));
  $('#mask-done').addEventListener('click', close);
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
  brush.showRing();
  $('#board').scrollIntoView({ block: 'nearest' }); // the tools open below the picture
}

function close() {
  isOpen = false;
  brush.cursor.isDown = false;
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

/** If a style replaces another style, it takes over the mask of that style. */
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

/** Offer one layer per style, and one for the region that stays unchanged. Styles without a drawn mask share the remaining area. */
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

function begin() {
  if (!active) return false;
  const layer = layerOf(active);
  remember(layer);
  layer.isDrawn = true;
  return true;
}

function line(from, to) {
  const pen = penOf(layerOf(active));
  pen.globalCompositeOperation = isErasing ? 'destination-out' : 'source-over';
  pen.strokeStyle = '#fff';
  brush.draw(pen, from, to);
  pen.globalCompositeOperation = 'source-over';
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

/** Upload the masks. Return whether all uploads succeeded. */
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

/** Render a mask. It is white where the style applies, or where the photo stays unchanged, and black elsewhere. */
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

