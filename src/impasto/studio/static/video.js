// The video page: upload a clip, paint it, watch its frames, play and download it. Loaded when it is first opened.

import { get, order, remove, save, upload, wasAborted } from './api.js';
import { Controls } from './controls.js';
import { $, button, h, lazyImage, once, say, set, tell } from './dom.js';
import * as jobs from './jobs.js';
import { clearAll, clearError, notice, registerPlace, showError, showErrorText, showWhere, speak } from './notices.js';
import { ask, buttons, showState } from './painting.js';
import { showResult } from './result.js';
import { brushCard } from './shelf.js';
import { change, facts, fieldsOf, on, state, styleOf } from './state.js';
import { bytes, duration, onLanguage, t } from './texts.js';

const RECENT = 6;
const PAINT_PX = 320;

let clip = null; // the clip on display
let job = ''; // id of the job on display
let brush = ''; // id of the chosen brush
let hasSound = true;
let sending = null;
let spoken = '';
let isHere = false;
let controls = null;
let predicted = '';

const radio = (text, props) => h('label', {}, h('input', { type: 'radio', name: 'video-with', ...props }), h('span', { t: text }));
const missing = h('div.card', { id: 'video-missing', hidden: true }, h('p', { t: 'video.missing' }), h('p', {}, h('code', { translate: 'no', text: "pip install 'impasto[video]'" })));

// ---- the clip
const file = h('input', { type: 'file', accept: 'video/*,.mkv,.avi,.gif,.webp', id: 'video-file', label: 'video.choose', hidden: true });
const formats = h('p.soft');
const clipError = h('p.error', { role: 'alert', id: 'video-clip-error', hidden: true });
const choose = button('video.choose', { look: 'primary', sign: 'image', id: 'video-choose', on: { click: () => file.click() } });
const empty = h('div.canvas', { id: 'video-empty' },
  h('p.lead.for-mouse', { t: 'video.lead' }), h('p.lead.for-touch', { t: 'video.lead_touch' }), formats, choose, h('p.soft.small', { t: 'video.private' }));
const recents = h('ul.recents', { label: 'video.recents' });
const recentPart = h('div', { hidden: true }, h('h3.soft', { t: 'video.recent' }), recents);
const poster = h('img', { alt: '' });
const clipName = h('strong.video-name');
const clipFacts = h('p.soft.small');
const chosenClip = h('div.card.video-clip', { id: 'video-clip', hidden: true }, poster, h('div.stack', {}, clipName, clipFacts,
  h('div.row', {},
    button('video.change', { sign: 'image', look: 'small', on: { click: () => show(null) }, id: 'video-change' }),
    button('video.remove', { sign: 'trash', look: 'small', on: { click: drop }, id: 'video-remove' }))));
const share = h('progress', { max: 1, label: 'video.sending' });
const shareText = h('p.painting-line', { role: 'status' });
const upload_ = h('div.card.painting', { id: 'video-sending', hidden: true }, shareText, share,
  h('div.row', {}, button('job.cancel', { sign: 'close', on: { click: () => sending?.abort() }, id: 'video-stop-sending' })));

// ---- the job
const picture = (alt) => h('img.video-frame', { alt, hidden: true, id: 'video-frame' });
const frame = picture('video.frame');
const player = h('video.video-frame', { controls: true, playsinline: true, preload: 'metadata', label: 'video.player', hidden: true, id: 'video-player' });
const bar = h('progress', { max: 1, label: 'painting.bar' });
const status = h('p.painting-line', { id: 'video-status' });
const jobError = h('p.error', { role: 'alert', hidden: true });
const actions = h('div.row');
const going = h('section.card.painting', { id: 'video-going', label: 'painting.title', hidden: true }, frame, player, bar, status, jobError, actions);

// ---- brush or style
const style = h('img', { alt: '' });
const styleTitle = h('figcaption');
const styles = h('div.video-style', { hidden: true }, h('figure', {}, style, styleTitle), h('p.help', { t: 'video.style_help' }));
const brushes = h('ul.styles', { label: 'training.brushes', id: 'video-brushes' });
const none = h('p.soft', { t: 'training.none', hidden: true });
const prediction = h('p.help', { role: 'status', id: 'video-prediction', hidden: true });
const withError = h('p.error', { role: 'alert', id: 'video-with-error', hidden: true });
const chooser = h('div.card.video-with', {}, h('h3', { t: 'video.with', id: 'video-with-title' }),
  h('div.segments', { role: 'radiogroup', 'aria-labelledby': 'video-with-title' },
    radio('video.brush', { id: 'video-brush', checked: true }), radio('video.style', { id: 'video-style' }),
    radio('video.paint', { id: 'video-paint' })),
  h('p.help', { t: 'video.help' }), brushes, none, styles, prediction, withError);

// ---- settings and the button
const sound = h('input.switch', { type: 'checkbox', role: 'switch', id: 'video-sound', checked: true, 'aria-describedby': 'video-sound-help' });
const startError = h('p.error', { role: 'alert', id: 'video-error', hidden: true });
const start = button('video.begin', { look: 'primary', sign: 'brush', id: 'video-start', on: { click: () => once(start, begin) } });
const basic = h('div.controls', {});
const settings = h('section.pane.settings', { label: 'settings.title' }, basic,
  h('div', {}, h('label.check', {}, sound, h('span.name', { t: 'video.sound' })), h('p.help', { id: 'video-sound-help', t: 'video.sound_help' })));
const parts = [
  h('section.stage', { label: 'video.title', id: 'video-stage' }, h('div.video', {}, missing, empty, clipError, recentPart, upload_, chosenClip, going, chooser, file)),
  settings,
  h('div.actions', { role: 'group', label: 'actions.title' }, startError, h('div.action-row', {}, start)),
];

export function setUp() {
  document.head.append(h('link', { rel: 'stylesheet', href: '/static/video.css' }));
  ['#stage', '#settings', '#actions'].forEach((before, index) => $(before).after(parts[index]));
  const fields = fieldsOf('video').filter((field) => field.name !== 'method'); // given by the choice of a brush or a style
  controls = new Controls({ kind: 'video', fields, values: state.options.video ?? {}, changed, basic, more: settings });
  registerPlace('video', { place: startError });
  for (const field of ['clip', 'content', 'sound']) registerPlace(`video.${field}`, { place: clipError, control: choose });
  for (const field of ['brush', 'styles', 'method']) registerPlace(`video.${field}`, { place: withError });
  file.addEventListener('change', () => {
    take(file.files[0]);
    file.value = '';
  });
  sound.addEventListener('change', () => (hasSound = sound.checked));
  chooser.addEventListener('change', showWith);
  on('styles', () => {
    if (isHere && isBrush()) $('#video-style').checked = true;
    showWith();
  });
  on('clip', takeDropped);
  on('watched', () => isHere && showWatched());
  jobs.on('job', (each) => each.kind === 'video' && (each.id === job || (!job && isHere)) && showJob(each));
  jobs.on('gone', ({ id }) => {
    recents.querySelector(`[data-clip="${id}"]`)?.remove();
    if (id === job || (job && id === jobs.jobs.get(job)?.result)) hideJob();
    if (id === clip?.id) show(null);
  });
  onLanguage(() => {
    showFacts();
    if (jobs.jobs.has(job)) showJob(jobs.jobs.get(job));
  });
}

/** Open or leave the page. */
export async function visit(isOn) {
  isHere = isOn;
  for (const part of parts) part.hidden = !isOn;
  if (!isOn) {
    player.pause();
    showWith();
    return;
  }
  showFacts();
  showWith();
  await Promise.all([loadBrushes(), restore()]);
  showWatched();
  takeDropped();
}

function changed(name, value) {
  const { [name]: _, ...rest } = state.options.video ?? {};
  change('options', { options: { ...state.options, video: value === undefined ? rest : { ...rest, [name]: value } } }, { kind: 'video', isFinal: true });
  predict();
}

// ------------------------------------------------------------------------------------------------ the clip

/** Show the clip from before a reload, and earlier clips, or how to install the packages. */
async function restore() {
  try {
    const { items } = await get(`/clips?limit=${RECENT}`);
    const known = items.find((each) => each.id === state.clip) ?? (state.clip && (await get(`/clips/${state.clip}`).catch(() => null)));
    recents.replaceChildren(...items.map(recent));
    show(known || clip);
  } catch (problem) {
    const isMissing = problem.code === 'extra';
    missing.hidden = !isMissing;
    for (const each of [empty, chooser, start]) each.hidden = isMissing;
    if (!isMissing) showError(clipError, problem);
  }
}

function recent(each) {
  const press = h('button.recent', { type: 'button', label: 'intake.again', with: { name: each.name }, on: { click: () => show(each) } });
  press.append(lazyImage(each.thumb));
  return h('li', { 'data-clip': each.id }, press);
}

function show(now) {
  clip = now;
  change('clip-shown', { clip: now?.id ?? '' });
  clearError(clipError, choose);
  predict();
  chosenClip.hidden = !now;
  empty.hidden = Boolean(now || sending);
  recentPart.hidden = Boolean(now || sending) || !recents.children.length;
  set(sound, 'disabled', Boolean(now) && !now.sounds.length);
  sound.checked = hasSound && !(now && !now.sounds.length);
  if (!now) return;
  set(poster, 'src', now.thumb);
  tell(clipName, now.name);
  showFacts();
}

function showFacts() {
  say(formats, 'video.formats', { most: bytes(facts.status?.limits.clip_bytes ?? 0) });
  if (!clip) return;
  const { width, height, seconds, rate, sounds } = clip;
  const sound_ = t(sounds.length ? 'video.with_sound' : 'video.silent');
  tell(clipFacts, t('video.facts', { width: `${width}`, height: `${height}`, length: duration(seconds), rate: Math.round(rate), sound: sound_ }));
}

/** Take the file that was dropped on any page. */
function takeDropped() {
  if (!isHere || !state.clipFile || !missing.hidden) return;
  const dropped = state.clipFile;
  state.clipFile = null;
  take(dropped);
}

async function take(chosen) {
  if (!chosen) return;
  clearAll();
  const most = facts.status?.limits.clip_bytes;
  if (most && chosen.size > most) {
    show(null);
    showErrorText(clipError, 'error.upload', { size: Math.round(chosen.size / 1e6), most: Math.round(most / 1e6) }, choose);
    return;
  }
  sending?.abort();
  const mine = (sending = new AbortController());
  const told = (part) => {
    share.value = part;
    say(shareText, part < 1 ? 'video.sent' : 'video.checking', { share: Math.floor(part * 100), name: chosen.name });
  };
  show(null);
  upload_.hidden = false;
  told(0);
  try {
    const found = await upload(chosen, chosen.name || 'clip', { to: '/clips', signal: mine.signal, onShare: told });
    sending = null;
    recents.prepend(recent(found));
    while (recents.children.length > RECENT) recents.lastChild.remove();
    show(found);
    speak(t('intake.here', { name: found.name }), { now: true });
    start.focus({ preventScroll: true });
  } catch (problem) {
    if (sending !== mine) return; // another clip was chosen meanwhile
    sending = null;
    show(null);
    if (!wasAborted(problem)) showError(clipError, problem, choose);
  }
  upload_.hidden = true;
}

/** Hide the clip, and delete it when the undo notice closes. */
function drop() {
  const dropped = clip;
  const shown = recents.querySelector(`[data-clip="${dropped.id}"]`);
  if (shown) shown.hidden = true;
  show(null);
  choose.focus();
  const back = () => {
    if (shown) shown.hidden = false;
    show(dropped);
  };
  const gone = () => remove(`/clips/${dropped.id}`, { keepalive: true }).then(() => shown?.remove(), (problem) => {
    if (shown) shown.hidden = false;
    if (!clip) show(dropped);
    showError(clipError, problem);
  });
  notice('video.removed', { with: { name: dropped.name }, undo: back, after: gone });
}

// ------------------------------------------------------------------------------------------------ brush or style

const isBrush = () => $('#video-brush').checked;
const isPaint = () => $('#video-paint').checked;
const options = () => ({ ...(isPaint() && { size: PAINT_PX, method: 'paint' }), ...state.options.video });

function showWith() {
  document.body.classList.toggle('is-without-styles', isHere && isBrush());
  if (!isHere) return;
  controls.show({ defaults: isPaint() && { size: PAINT_PX } });
  predict();
  clearError(withError);
  brushes.hidden = !isBrush();
  none.hidden = !isBrush() || brushes.children.length > 0;
  styles.hidden = isBrush();
  const id = state.styles[0]?.id;
  if (isBrush() || !id) return;
  set(style, 'src', `/api/v1/styles/${id}/picture`);
  tell(styleTitle, styleOf(id)?.title ?? id);
}

/** Show the predicted time. */
async function predict() {
  const id = state.styles[0]?.id;
  const path = isHere && isPaint() && clip && id ? `/clips/${clip.id}/prediction?style=${id}&size=${options().size}` : '';
  if (path === predicted) return;
  predicted = path;
  prediction.hidden = !path;
  if (!path) return;
  say(prediction, 'video.predicting');
  const found = await get(path).catch(() => null);
  if (path !== predicted) return;
  if (found) say(prediction, 'video.predicted', { width: `${found.width}`, height: `${found.height}`, time: duration(found.seconds) });
  else say(prediction, 'video.unpredicted');
}

/** Load the brushes. At first, that of the first page's style is chosen. */
async function loadBrushes() {
  const { items } = await get('/brushes').catch(() => ({ items: [] }));
  const wanted = [brush, state.styles[0]?.id, items[0]?.id];
  brush = wanted.find((id) => items.some((each) => each.id === id)) ?? '';
  brushes.replaceChildren(...items.map((each) => brushCard(each, brush, (id) => (brush = id))));
  if (!items.length) $('#video-style').checked = true;
  showWith();
}

// ------------------------------------------------------------------------------------------------ the job

async function begin() {
  clearAll();
  if (!clip) {
    showErrorText(clipError, 'error.no_clip', {}, choose);
    choose.focus();
    clipError.scrollIntoView({ block: 'nearest' });
    return;
  }
  const how = isBrush() ? { brush } : { styles: state.styles.slice(0, 1).map((each) => each.id) };
  try {
    const found = await order({ kind: 'video', clip: clip.id, sound: hasSound, options: options(), run: state.options.run, ...how });
    change('watched', { watched: found.id });
    showJob(jobs.take(found));
    going.scrollIntoView({ block: 'nearest' });
  } catch (problem) {
    showWhere(problem, 'video', 'video');
  }
}

/** Show the job that was chosen last, or else the newest. */
function showWatched() {
  const known = [...jobs.jobs.values()].filter((each) => each.kind === 'video').sort((a, b) => b.created - a.created);
  const now = known.find((each) => each.id === state.watched) ?? known.find((each) => !jobs.hasEnded(each)) ?? known[0];
  if (now) showJob(now);
}

function hideJob() {
  job = '';
  going.hidden = true;
  player.removeAttribute('src');
}

function showJob(now) {
  const isNew = now.id !== job;
  job = now.id;
  const [text, vars] = showState(now, { going, status, bar });
  showFrame(now, isNew);
  jobError.hidden = now.state !== 'failed';
  if (now.state === 'failed') showError(jobError, now.error);
  const names = `${now.id} ${now.state} ${now.can_continue} ${now.result}`;
  if (actions.dataset.names !== names) drawActions(now, names);
  announce(now, text, vars);
}

/** Show the newest frame, or play the result. */
function showFrame(now, isNew) {
  if (isNew) {
    frame.hidden = true;
    delete frame.dataset.wanted;
  }
  player.hidden = !now.result;
  if (now.result) {
    const address = `/api/v1/results/${now.result}/video`;
    if (player.getAttribute('src') !== address) {
      player.poster = `/api/v1/results/${now.result}/image`;
      player.src = address;
    }
    frame.hidden = true;
    return;
  }
  player.removeAttribute('src');
  if (!now.preview || frame.dataset.wanted === now.preview) return;
  frame.dataset.wanted = now.preview;
  const next = new Image();
  next.src = now.preview;
  next.decode().then(() => {
    if (frame.dataset.wanted !== now.preview) return;
    frame.src = now.preview;
    frame.hidden = now.id !== job || !player.hidden;
  }, () => {});
}

function drawActions(now, names) {
  const had = actions.contains(document.activeElement);
  actions.dataset.names = names;
  const act = (what) => ask(now.id, what).then(showJob, (problem) => showWhere(problem, 'video', 'video'));
  const acts = buttons(now).map(([name, sign, what]) => button(name, { sign, on: { click: () => act(what) }, 'data-do': what }));
  if (now.result) {
    acts.push(button('video.download', { look: 'primary', sign: 'download', on: { click: () => save(`/results/${now.result}/video`) }, id: 'video-download' }));
    acts.push(button('queue.show', { sign: 'eye', on: { click: () => showResult(now.result) } }));
  }
  actions.replaceChildren(...acts);
  if (had) (actions.querySelector('button') ?? start).focus();
}

/** Announce changes of state and every quarter of the progress. */
function announce(now, text, vars) {
  const quarter = now.state === 'running' ? Math.floor((now.progress?.share ?? 0) * 4) : 0;
  const told = `${now.id} ${now.state} ${quarter}`;
  if (told === spoken) return;
  spoken = told;
  if (isHere) speak(t(text, vars), { now: now.state !== 'running' });
}
