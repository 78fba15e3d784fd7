// The brush page: train a brush for a style, watch the training, and paint photos with brushes. Loaded when the page is first opened.

import { download, get, order, resultImage, upload } from './api.js';
import { Controls } from './controls.js';
import { $, button, h, once, say, set, tell } from './dom.js';
import * as jobs from './jobs.js';
import { clearAll, clearError, registerPlace, showError, showWhere, speak } from './notices.js';
import { ask, buttons, showState } from './painting.js';
import { showResult } from './result.js';
import { brushCard } from './shelf.js';
import { change, fieldsOf, on, state, styleOf } from './state.js';
import { hasText, onLanguage, t } from './texts.js';

const SVG = 'http://www.w3.org/2000/svg';
const MAIN = ['minutes', 'network', 'style_size'];
const OTHERS = 'Other options';
const MOST_PHOTOS = 400;
const MOST_POINTS = 400;

let job = ''; // id of the training on display
let photos = []; // ids of the user's training photos
let chosen = ''; // id of the brush to paint with
let spoken = '';
let curve = []; // losses of the training on display, since the page was opened
let isHere = false;

const radio = (text, props) => h('label', {}, h('input', { type: 'radio', name: 'training-photos', ...props }), h('span', { t: text }));
const image = (key) => h('img.training-strip', { alt: key, hidden: true });
const style = h('img', { alt: '' });
const styleTitle = h('figcaption');
const file = h('input', { type: 'file', accept: 'image/*', multiple: true, id: 'training-file', label: 'training.choose', hidden: true });
const sources = h('div.segments', { role: 'radiogroup', label: 'training.photos' },
  radio('training.builtin', { id: 'training-builtin', checked: true }), radio('training.own', { id: 'training-own' }));
const count = h('p.soft.small', { hidden: true, role: 'status' });
const bar = h('progress', { max: 1, label: 'painting.bar' });
const status = h('p.painting-line');
const losses = h('p.soft.small.training-losses');
const chart = document.createElementNS(SVG, 'svg');
const strip = image('training.strip');
const actions = h('div.row');
const going = h('div.card.painting', { id: 'training-going', hidden: true }, bar, status, losses, chart, strip, actions);
const error = h('p.error', { role: 'alert', id: 'training-error', hidden: true });
const start = button('training.start', { look: 'primary', sign: 'brush', id: 'training-start', on: { click: () => once(start, begin) } });
const list = h('ul.styles', { label: 'training.brushes', id: 'training-brushes' });
const none = h('p.soft', { t: 'training.none' });
const apply = button('training.apply', { sign: 'brush', id: 'training-apply', on: { click: () => once(apply, paint) } });
const applyError = h('p.error', { role: 'alert', hidden: true });
const settings = h('section.pane.settings', { label: 'settings.title' });
const parts = [
  h('section.stage', { label: 'training.title', id: 'training-stage' }, h('div.training', {},
    h('div.card.training-inputs', {},
      h('figure', {}, style, styleTitle),
      h('div', {}, h('p.help', { t: 'training.help' }), h('p.name', { t: 'training.photos' }), sources, count, file)),
    going, error,
    h('div.card', {}, h('h3', { t: 'training.brushes' }), none, list, h('div.row', {}, apply), applyError))),
  settings,
  h('div.actions', { role: 'group', label: 'actions.title' }, h('div.action-row', {}, start)),
];

export function setUp() {
  document.head.append(h('link', { rel: 'stylesheet', href: '/static/training.css' }));
  ['#stage', '#settings', '#actions'].forEach((before, index) => $(before).after(parts[index]));
  chart.setAttribute('class', 'training-chart');
  chart.setAttribute('viewBox', '0 0 100 30');
  chart.setAttribute('preserveAspectRatio', 'none');
  chart.setAttribute('aria-hidden', 'true');
  chart.setAttribute('hidden', '');
  const basic = h('div.controls');
  settings.append(basic);
  const fields = fieldsOf('brush').map((field) => (MAIN.includes(field.name) ? field : { ...field, basic: false, group: OTHERS }));
  new Controls({ kind: 'brush', fields, values: state.options.brush ?? {}, changed, basic, more: settings });
  registerPlace('brush', { place: error });
  for (const field of ['styles', 'photos']) registerPlace(`brush.${field}`, { place: error });
  for (const field of ['content', 'brush']) registerPlace(`apply.${field}`, { place: applyError });
  $('#training-own').addEventListener('change', () => (photos.length ? showPhotos() : file.click()));
  $('#training-builtin').addEventListener('change', showPhotos);
  file.addEventListener('change', takePhotos);
  file.addEventListener('cancel', showPhotos);
  on('styles', showStyle);
  on('photo', showApply);
  jobs.on('job', (each) => each.kind === 'brush' && (each.id === job || !job) && show(each));
  jobs.on('gone', ({ kind, id }) => kind === 'result' && id && isHere && loadBrushes());
  onLanguage(() => showLosses());
}

/** Show or hide the page. */
export function visit(isOn) {
  isHere = isOn;
  for (const part of parts) part.hidden = !isOn;
  if (!isOn) return;
  showStyle();
  showApply();
  loadBrushes();
  const known = [...jobs.jobs.values()].filter((each) => each.kind === 'brush').sort((a, b) => b.created - a.created);
  const now = known.find((each) => !jobs.hasEnded(each)) ?? known[0];
  if (now) show(now);
}

function changed(name, value) {
  const { [name]: _, ...rest } = state.options.brush ?? {};
  change('options', { options: { ...state.options, brush: value === undefined ? rest : { ...rest, [name]: value } } }, { kind: 'brush', isFinal: true });
}

// ------------------------------------------------------------------------------------------------ style and photos

function showStyle() {
  const id = state.styles[0]?.id;
  if (!isHere || !id) return;
  set(style, 'src', `/api/v1/styles/${id}/picture`);
  tell(styleTitle, styleOf(id)?.title ?? id);
}

async function takePhotos() {
  const files = [...file.files].slice(0, MOST_PHOTOS);
  file.value = '';
  clearError(error);
  set(start, 'disabled', true);
  photos = [];
  count.hidden = false;
  try {
    for (const each of files) {
      say(count, 'training.sending', { number: photos.length + 1, total: files.length });
      photos.push((await upload(each, `impasto-training-${each.name}`)).id);
    }
  } catch (problem) {
    showError(error, problem);
  }
  set(start, 'disabled', null);
  showPhotos();
}

/** Without any photos of the user, the built-in ones are used. */
function showPhotos() {
  if (!photos.length) $('#training-builtin').checked = true;
  count.hidden = $('#training-builtin').checked;
  say(count, 'training.count', { count: photos.length });
}

// ------------------------------------------------------------------------------------------------ training

async function begin() {
  clearAll();
  const own = $('#training-own').checked ? { photos } : {};
  try {
    const styles = state.styles.slice(0, 1).map((each) => each.id);
    const found = await order({ kind: 'brush', styles, options: state.options.brush ?? {}, run: state.options.run, ...own });
    show(jobs.take(found));
    going.scrollIntoView({ block: 'nearest' });
  } catch (problem) {
    showWhere(problem, 'brush', 'brush');
  }
}

function show(now) {
  if (now.id !== job) {
    job = now.id;
    curve = [];
  }
  const [text, vars] = showState(now, { going, status, bar });
  const address = now.result ? resultImage(now.result) : now.preview;
  strip.hidden = !address;
  if (address && strip.getAttribute('src') !== address) strip.src = address;
  addLosses(now.progress);
  const at = `${now.id} ${now.state} ${now.can_continue} ${Boolean(now.progress)}`;
  if (spoken === at) return;
  spoken = at;
  if (isHere) speak(t(text, vars), { now: true });
  drawActions(now);
  if (now.state === 'failed' && isHere) showWhere(now.error, 'brush', 'brush');
  if (now.result) loadBrushes(now.result);
}

function drawActions(now) {
  const act = (what) => ask(now.id, what).then(show, (problem) => showWhere(problem, 'brush', 'brush'));
  const acts = buttons(now).map(([name, sign, what]) => button(name, { sign, on: { click: () => act(what) }, 'data-do': what }));
  if (now.result) {
    acts.push(button('training.download', { sign: 'download', on: { click: () => fetchBrush(now.result) }, id: 'training-download' }));
    acts.push(button('queue.show', { sign: 'eye', on: { click: () => showResult(now.result) } }));
  }
  actions.replaceChildren(...acts);
}

const fetchBrush = (id) => download(`/results/${id}/brush`).catch((problem) => showError(error, problem));

// ------------------------------------------------------------------------------------------------ losses

function addLosses(progress) {
  if (!progress || !Object.keys(progress.losses).length || curve.at(-1)?.step === progress.step) return;
  curve.push(progress);
  if (curve.length > MOST_POINTS) curve = curve.filter((_, index) => index % 2 === 0 || index === curve.length - 1);
  showLosses();
}

const lossName = (name) => (hasText(`loss.${name}`) ? t(`loss.${name}`) : name);

/** Show the newest losses, and draw each loss in relation to its largest value. */
function showLosses() {
  const last = curve.at(-1);
  if (!last) return;
  chart.toggleAttribute('hidden', curve.length < 2);
  const names = Object.keys(last.losses).filter((name) => last.losses[name] !== null);
  tell(losses, names.map((name) => `${lossName(name)} ${last.losses[name].toPrecision(3)}`).join(' · '));
  chart.replaceChildren(...names.map((name) => {
    const line = document.createElementNS(SVG, 'polyline');
    const points = curve.filter((each) => Number.isFinite(each.losses[name]));
    const most = Math.max(...points.map((each) => each.losses[name])) || 1;
    const across = (each) => (100 * (each.seconds - curve[0].seconds)) / (last.seconds - curve[0].seconds || 1);
    line.setAttribute('points', points.map((each) => `${across(each).toFixed(2)},${(29 - (28 * each.losses[name]) / most).toFixed(2)}`).join(' '));
    line.setAttribute('class', `loss-${name}`);
    return line;
  }));
}

// ------------------------------------------------------------------------------------------------ brushes

/** Load the list of brushes. If `select` is given, choose this brush. */
async function loadBrushes(select = chosen) {
  const { items } = await get('/brushes').catch(() => ({ items: [] }));
  chosen = items.some((each) => each.id === select) ? select : (items[0]?.id ?? '');
  none.hidden = items.length > 0;
  list.replaceChildren(...items.map((each) => brushCard(each, chosen, (id) => (chosen = id))));
  showApply();
}

function showApply() {
  apply.hidden = !chosen;
  say(apply.querySelector('span'), state.photo ? 'training.apply' : 'training.photo');
}

/** Paint the current photo with the chosen brush. */
async function paint() {
  if (!state.photo) {
    $('#photo-file').click();
    return;
  }
  clearError(applyError);
  try {
    const ended = await jobs.ended(await order({ kind: 'apply', content: state.photo.id, brush: chosen, priority: 3 }));
    if (ended.state === 'failed') throw ended.error;
    if (ended.state === 'done') await showResult(ended.result);
  } catch (problem) {
    showError(applyError, problem);
  }
}
