// The doodle page: draw a map of flat colors by hand, and paint the map in a style. This module is loaded when the page is first opened.

import { fetched, order, post, resultImage, upload } from './api.js';
import { Brush } from './brush.js';
import { Controls } from './controls.js';
import { $, button, h, once, say, set, tell } from './dom.js';
import * as jobs from './jobs.js';
import { clearAll, clearError, registerPlace, showWhere, speak } from './notices.js';
import { buttons, showState } from './painting.js';
import { showResult } from './result.js';
import { change, fieldsOf, on, state, styleOf } from './state.js';
import { onLanguage, t } from './texts.js';

const EDGE = 512;
const MAP_EDGE = 1024;
const MOST_UNDO = 20;
const MOST_COLORS = 16;
const ALIKE = 41; // RGB distance below which two colors of a map count as the same; the worker uses the same value
const LEAST = 0.004; // a color counts if it covers at least this share of a map
const SUGGESTED = 6;
const PAGES = { '3 : 2': 3 / 2, '1 : 1': 1, '2 : 3': 2 / 3 };

let palette = []; // [{ rgb, value, share }], most frequent first
let active = 0;
let undo = [];
let own = null; // the user's map of the style: its upload and its address
let known = ''; // address of the map from which the palette was made
let job = null; // id of the newest doodle
let spoken = '';
let of = ''; // id of the style to which the palette belongs
let isHere = false;

const radio = (text, props) => h('label', {}, h('input', { type: 'radio', ...props }), h('span', { t: text }));
const image = (key, look = '') => h(`img${look}`, { alt: key, hidden: Boolean(look) });
const size = h('input', { type: 'range', min: '2', max: '40', value: '12', id: 'doodle-size' });
const shown = h('output', { for: 'doodle-size' });
const brush = new Brush({ label: 'doodle.drawing', help: 'doodle-help', slider: size, shown, begin, line, end: crisp });
const pen = brush.view.getContext('2d', { willReadFrequently: true });
const photo = image('split.before', '.doodle-photo');
const painted = image('stage.painting', '.doodle-result');
const canvas = h('div.split.is-masking', {}, photo, h('div.split-layers', {}, brush.view, brush.ring), painted);
const board = h('div.board', {}, canvas);
const picture = h('img');
const title = h('figcaption');
const map = image('doodle.map');
const mapTitle = h('figcaption', { t: 'doodle.suggested' });
const colors = h('div.chips', { role: 'radiogroup', label: 'doodle.colors', id: 'doodle-colors' });
const page = h('select', { id: 'doodle-page' }, Object.keys(PAGES).map((name) => h('option', { value: name, text: name })), h('option', { value: 'photo', t: 'split.before' }));
const tools = h('div.segments', { role: 'radiogroup', label: 'doodle.tool' }, radio('mask.mode', { name: 'doodle-tool', checked: true }), radio('doodle.fill', { name: 'doodle-tool', id: 'doodle-fill' }));
const views = h('div.segments', { role: 'radiogroup', label: 'stage.views', hidden: true }, radio('doodle.drawing', { name: 'doodle-view', id: 'doodle-drawing', checked: true }), radio('stage.painting', { name: 'doodle-view', id: 'doodle-painting' }));
const back = button('mask.undo', { look: 'small', sign: 'undo', id: 'doodle-undo', on: { click: takeBack } });
const clear = button('mask.clear', { look: 'small', sign: 'close', id: 'doodle-clear', on: { click: wipe } });
const file = h('input', { type: 'file', accept: 'image/*', id: 'doodle-file', label: 'doodle.upload', hidden: true });
const ownMap = button('doodle.upload', { look: 'small', sign: 'image', on: { click: () => file.click() } });
const suggested = button('doodle.suggested', { look: 'small', sign: 'undo', on: { click: () => useMap(null) } });
const bar = h('progress', { max: 1, label: 'painting.bar' });
const status = h('p.painting-line');
const actions = h('div.row');
const going = h('div.card.painting', { id: 'doodle-going', hidden: true }, bar, status, h('div.row', {}, views, actions));
const error = h('p.error', { role: 'alert', id: 'doodle-error', hidden: true });
const paint = button('painting.begin', { look: 'primary', sign: 'brush', id: 'doodle-paint', on: { click: () => once(paint, start) } });
const settings = h('section.pane.settings', { label: 'settings.title' });
const parts = [
  h('section.stage', { label: 'doodle.title', id: 'doodle-stage' }, h('div.doodle', {},
    board,
    h('div.doodle-going', {}, going, error),
    h('div.card.doodle-tools', {},
      h('p.help', { t: 'doodle.help', id: 'doodle-help' }), colors,
      h('div.row', {}, tools, h('label.brush-size', {}, h('span', { t: 'mask.size' }), size, shown)),
      h('div.row', {}, h('label.row', {}, h('span', { t: 'doodle.page' }), h('span.select', {}, page)), back, clear)),
    h('div.doodle-side', {}, h('figure', {}, picture, title), h('figure', {}, map, mapTitle), h('div.row', {}, ownMap, suggested, file)))),
  settings,
  h('div.actions', { role: 'group', label: 'actions.title' }, h('div.action-row', {}, paint)),
];

export function setUp() {
  document.head.append(h('link', { rel: 'stylesheet', href: '/static/doodle.css' }));
  ['#stage', '#settings', '#actions'].forEach((before, index) => $(before).after(parts[index]));
  const basic = h('div.controls');
  settings.append(basic);
  const controls = new Controls({ kind: 'doodle', fields: fieldsOf('doodle'), values: state.options.doodle, changed, basic, more: settings });
  const suit = () => controls.show({ hidden: page.value === 'photo' ? [] : ['content_weight'] });
  registerPlace('doodle', { place: error });
  for (const field of ['map', 'style_map', 'styles', 'content']) registerPlace(`doodle.${field}`, { place: error });
  registerPlace('paint.content', { place: error }); // errors of a photo that was chosen on this page
  page.addEventListener('change', () => {
    if (page.value === 'photo' && !state.photo) {
      $('#photo-file').click();
      page.value = '3 : 2';
    }
    suit();
    shape();
  });
  on('photo', () => {
    if (state.photo ? isHere : page.value === 'photo') page.value = state.photo ? 'photo' : '3 : 2';
    suit();
    shape();
  });
  on('styles', () => styleId() !== of && useMap(null));
  for (const each of views.querySelectorAll('input')) each.addEventListener('change', look);
  file.addEventListener('change', () => takeOwn(file.files[0]));
  jobs.on('job', (each) => each.id === job && show(each));
  onLanguage(tellColors);
  if (state.photo) page.value = 'photo';
  suit();
  shape();
}

/** Show or hide the page. */
export function visit(isOn) {
  if (isHere && !isOn) change('again'); // repaint the instant picture, because another style may have been chosen on this page
  isHere = isOn;
  for (const part of parts) part.hidden = !isOn;
  if (isOn && known !== mapAddress()) useMap(own);
  if (isOn) brush.showRing();
}

function changed(name, value) {
  const { [name]: _, ...rest } = state.options.doodle;
  change('options', { options: { ...state.options, doodle: value === undefined ? rest : { ...rest, [name]: value } } }, { kind: 'doodle', isFinal: true });
  if (name === 'labels' && !own) useMap(null);
}

// ------------------------------------------------------------------------------------------------ the map of the style

const styleId = () => state.styles[0]?.id;
const mapAddress = () => own?.address ?? `/styles/${styleId()}/map?labels=${state.options.doodle.labels || SUGGESTED}`;

/** Use a map that the user uploaded, or the suggested map of the style. */
async function useMap(given) {
  own = given;
  if (!isHere || !styleId()) return;
  of = styleId();
  const mine = (known = mapAddress());
  clearError(error);
  say(mapTitle, own ? 'doodle.own' : 'doodle.drafting');
  suggested.hidden = !own;
  set(paint, 'disabled', true);
  picture.src = `/api/v1/styles/${of}/picture`;
  picture.alt = styleOf(of)?.title ?? of;
  tell(title, picture.alt);
  try {
    const found = await createImageBitmap(own ? own.file : await (await fetched(mine)).blob());
    const scale = Math.min(1, MAP_EDGE / Math.max(found.width, found.height));
    const sheet = h('canvas', { width: Math.ceil(found.width * scale), height: Math.ceil(found.height * scale) });
    const context = sheet.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(found, 0, 0, sheet.width, sheet.height);
    if (mine !== known) return;
    map.src = sheet.toDataURL();
    if (!own) say(mapTitle, 'doodle.suggested');
    useColors(colorsOf(context.getImageData(0, 0, sheet.width, sheet.height).data));
    set(paint, 'disabled', null);
  } catch (problem) {
    if (mine !== known) return;
    known = '';
    showWhere(problem.code ? problem : { code: 'picture' }, 'doodle', 'doodle');
  }
}

async function takeOwn(chosen) {
  file.value = '';
  if (!chosen) return;
  clearError(error);
  try {
    const sent = await upload(chosen, 'impasto-style-map.png');
    await useMap({ id: sent.id, address: sent.id, file: chosen });
  } catch (problem) {
    showWhere(problem, 'doodle', 'doodle');
  }
}

const rgbOf = (value) => [0, 8, 16].map((shift) => (value >> shift) & 255);

/** Return the colors of a map, most frequent first. */
function colorsOf(data) {
  const values = new Uint32Array(data.buffer);
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const found = [];
  for (const [value, count] of [...counts].sort((a, b) => b[1] - a[1])) {
    const rgb = rgbOf(value);
    const alike = found.find((each) => Math.hypot(...each.rgb.map((of, index) => of - rgb[index])) < ALIKE);
    if (alike) alike.share += count / values.length;
    else found.push({ rgb, value, share: count / values.length });
  }
  return found.filter((each) => each.share >= LEAST).sort((a, b) => b.share - a.share).slice(0, MOST_COLORS);
}

const hex = ({ rgb }) => `#${rgb.map((each) => each.toString(16).padStart(2, '0')).join('')}`;

/** Show a new palette. In the drawing, each old color becomes the new color at the same position of the palette. */
function useColors(now) {
  const to = new Map(palette.map((each, index) => [each.value, now[index % now.length].value]));
  palette = now;
  active = active < now.length ? active : 0;
  paintOver((value) => to.get(value) ?? now[0].value);
  forget();
  colors.replaceChildren(...now.map((each, index) => {
    const input = h('input', { type: 'radio', name: 'doodle-color', value: index });
    input.checked = index === active;
    input.addEventListener('change', () => (active = index));
    const dot = h('span.dot', { 'aria-hidden': 'true' });
    dot.style.background = hex(each);
    return h('label.chip', {}, input, dot, h('span', { text: `${Math.round(each.share * 100)} %` }));
  }));
  tellColors();
}

function tellColors() {
  colors.querySelectorAll('input').forEach((input, index) => {
    say(input, 'doodle.color', { number: index + 1, share: Math.round(palette[index].share * 100) }, 'aria-label');
  });
}

// ------------------------------------------------------------------------------------------------ the drawing

/** Change the aspect ratio of the canvas. The drawing is stretched. */
function shape() {
  const isPhoto = page.value === 'photo';
  const ratio = isPhoto ? state.photo.width / state.photo.height : PAGES[page.value];
  photo.hidden = !isPhoto;
  if (isPhoto) photo.src = state.photo.image;
  canvas.classList.toggle('is-over-photo', isPhoto);
  for (const each of [canvas, board]) each.style.setProperty('--ratio', String(ratio));
  const { view } = brush;
  const before = h('canvas', { width: view.width, height: view.height });
  before.getContext('2d').drawImage(view, 0, 0);
  view.width = Math.round(EDGE * Math.min(1, ratio));
  view.height = Math.round(EDGE / Math.max(1, ratio));
  pen.imageSmoothingEnabled = false;
  pen.drawImage(before, 0, 0, view.width, view.height);
  forget();
  brush.showRing();
}

const pixels = () => pen.getImageData(0, 0, brush.view.width, brush.view.height);

/** Replace the value of every pixel. */
function paintOver(how) {
  const now = pixels();
  const values = new Uint32Array(now.data.buffer);
  values.forEach((value, index) => (values[index] = how(value, index)));
  pen.putImageData(now, 0, 0);
}

function forget() {
  undo = [];
  brush.cursor.isDown = false;
  showUndo();
}

function remember() {
  seeDrawing();
  undo.push(pixels());
  if (undo.length > MOST_UNDO) undo.shift();
  showUndo();
}

const showUndo = () => set(back, 'disabled', !undo.length);

function takeBack() {
  seeDrawing();
  pen.putImageData(undo.pop(), 0, 0);
  showUndo();
}

function wipe() {
  remember();
  paintOver(() => palette[0].value);
}

function begin(point) {
  if (!palette.length) return false;
  remember();
  if ($('#doodle-fill').checked) fill(point);
  return !$('#doodle-fill').checked;
}

function line(from, to) {
  pen.strokeStyle = hex(palette[active]);
  brush.draw(pen, from, to);
}

/** Make the soft edges of a stroke crisp, so that every pixel has a color of the palette. */
function crisp() {
  if (!undo.length) return;
  const before = new Uint32Array(undo.at(-1).data.buffer);
  const { value } = palette[active];
  const distance = (one, other) => rgbOf(one).reduce((sum, each, index) => sum + Math.abs(each - rgbOf(other)[index]), 0);
  paintOver((now, index) => {
    if (now === before[index] || now === value) return now;
    return distance(now, value) < distance(now, before[index]) ? value : before[index];
  });
}

function fill({ x, y }) {
  const { width, height } = brush.view;
  const now = pixels();
  const values = new Uint32Array(now.data.buffer);
  const left = [Math.min(height - 1, Math.floor(y * height)) * width + Math.min(width - 1, Math.floor(x * width))];
  const [from, to] = [values[left[0]], palette[active].value];
  while (left.length && from !== to) {
    const at = left.pop();
    if (values[at] !== from) continue;
    values[at] = to;
    if (at % width) left.push(at - 1);
    if ((at + 1) % width) left.push(at + 1);
    left.push(at - width, at + width);
  }
  pen.putImageData(now, 0, 0);
}

// ------------------------------------------------------------------------------------------------ painting

async function start() {
  clearAll();
  try {
    const blob = await new Promise((resolve) => brush.view.toBlob(resolve, 'image/png'));
    const { id } = await upload(blob, 'impasto-doodle.png');
    const body = { kind: 'doodle', styles: [styleId()], map: id, options: state.options.doodle, run: state.options.run };
    if (own) body.style_map = own.id;
    if (page.value === 'photo') body.content = state.photo.id;
    const found = await order(body);
    job = found.id;
    show(jobs.take(found));
    board.scrollIntoView({ block: 'nearest' });
  } catch (problem) {
    showWhere(problem, 'doodle', 'doodle');
  }
}

function show(now) {
  const [text, vars] = showState(now, { going, status, bar });
  const address = now.result ? resultImage(now.result) : now.preview;
  if (address) painted.src = address;
  if (address && views.hidden) $('#doodle-painting').checked = true;
  views.hidden = !address;
  look();
  if (spoken === `${now.id} ${now.state}`) return;
  spoken = `${now.id} ${now.state}`;
  speak(t(text, vars), { now: true });
  const acts = buttons(now).map(([name, sign, what]) => button(name, { sign, on: { click: () => act(what) }, 'data-do': what }));
  if (now.result) acts.push(button('queue.show', { sign: 'eye', on: { click: () => showResult(now.result) }, id: 'doodle-open' }));
  actions.replaceChildren(...acts);
  if (address) $('#doodle-painting').checked = true;
  look();
  if (now.state === 'failed') showWhere(now.error, 'doodle', 'doodle');
}

const act = (what) => post(`/jobs/${job}/${what}`).then(jobs.take, (problem) => showWhere(problem, 'doodle', 'doodle'));

function seeDrawing() {
  $('#doodle-drawing').checked = true;
  look();
}

function look() {
  painted.hidden = views.hidden || !$('#doodle-painting').checked;
  canvas.classList.toggle('is-painted', !painted.hidden);
}
