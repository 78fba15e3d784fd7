// The queue: active, waiting and earlier jobs.

import { patch, remove } from './api.js';
import { $, button, h, lazyImage, openDialog, say, tell } from './dom.js';
import { isSheet } from './figures.js';
import * as jobs from './jobs.js';
import { clearError, showError } from './notices.js';
import { ask, buttons, watch, words } from './painting.js';
import { showResult } from './result.js';
import { change, state, styleOf } from './state.js';
import { onLanguage } from './texts.js';

const MOST_ENDED = 20;
const ACTIVE = ['queued', 'running', 'paused'];
/** Whether a job is not shown in the workspace. */
const isApart = (job) => isSheet(job) || ['doodle', 'brush', 'apply', 'video'].includes(job.kind);
const rows = new Map();
let timer = null;

export function setUpQueue() {
  $('#queue-open').addEventListener('click', () => {
    clearError($('#queue-error'));
    draw();
    openDialog($('#queue'));
  });
  $('#queue-forget').addEventListener('click', forgetEnded);
  jobs.on('job', soon);
  jobs.on('gone', soon);
  onLanguage(() => {
    rows.clear();
    draw();
  });
}

/** Redraw at most four times a second. */
function soon() {
  timer ??= setTimeout(() => {
    timer = null;
    draw();
  }, 250);
}

function draw() {
  const all = [...jobs.jobs.values()].filter((job) => !job.draft);
  const active = all.filter((job) => ACTIVE.includes(job.state));
  const count = active.filter((job) => job.state !== 'paused').length;
  tell($('#queue-count'), count ? String(count) : '');
  $('#queue-count').hidden = !count;
  $('#queue-work').hidden = !count;
  if (!$('#queue').open && !$('#queue').matches(':modal') && !rows.size && !all.length) return;
  const first = { running: 0, queued: 1, paused: 2 };
  active.sort((a, b) => first[a.state] - first[b.state] || b.priority - a.priority || a.created - b.created);
  const over = all.filter((job) => !ACTIVE.includes(job.state)).sort((a, b) => (b.finished ?? 0) - (a.finished ?? 0));
  fill($('#queue-active'), active);
  fill($('#queue-over'), over.slice(0, MOST_ENDED));
  $('#queue-empty').hidden = active.length > 0;
  $('#queue-over-part').hidden = !over.length;
}

function fill(list, wanted) {
  const elements = wanted.map(rowOf);
  const isSame = elements.length === list.children.length && elements.every((each, index) => list.children[index] === each);
  if (!isSame) list.replaceChildren(...elements);
}

/** Reuse the row of a job, so that it keeps the focus. */
function rowOf(job) {
  const known = rows.get(job.id) ?? makeRow(job);
  rows.set(job.id, known);
  const [line, vars] = words(job);
  say(known.line, line, vars);
  known.bar.hidden = job.state !== 'running' && job.state !== 'paused';
  if (job.progress) known.bar.value = job.progress.share;
  else known.bar.removeAttribute('value');
  known.error.hidden = job.state !== 'failed';
  if (job.state === 'failed') showError(known.error, job.error);
  const names = [job.state, job.can_continue, job.result].join();
  if (known.names !== names) {
    const had = known.buttons.contains(document.activeElement);
    known.names = names;
    known.buttons.replaceChildren(...actions(job));
    if (had) known.buttons.querySelector('button')?.focus();
  }
  return known.element;
}

function makeRow(job) {
  const { request } = job;
  const styles = request.styles.map((id) => styleOf(id)?.title ?? id).join(' + ');
  const made = {
    line: h('p.job-line'),
    bar: h('progress', { max: 1, label: 'painting.bar' }),
    error: h('p.error'),
    buttons: h('div.row'),
    names: '',
  };
  const title = h('p.job-title', {}, h('strong', { t: `kind.${job.kind}` }), ' ', h('span', { text: styles }));
  const photo = request.content ?? request.map;
  const of = request.clip ? `clips/${request.clip}/thumb` : photo ? `uploads/${photo}/thumb` : `styles/${request.styles[0]}/preview`;
  const picture = lazyImage(`/api/v1/${of}`);
  made.element = h('li.job', { 'data-job': job.id }, picture, h('div', {}, title, made.line, made.bar, made.error, made.buttons));
  return made;
}

function actions(job) {
  const act = (what) => attempt(() => ask(job.id, what).then((now) => now.id !== job.id && show(now)));
  const found = buttons(job).map(([name, sign, what]) => button(name, { sign, look: 'small', on: { click: () => act(what) } }));
  const look = button('queue.show', { sign: 'eye', look: 'small', on: { click: () => show(job) } });
  if (job.state !== 'queued' && job.id !== state.painting && (isApart(job) ? job.result || job.kind === 'video' : job.preview || job.result)) found.unshift(look);
  if (job.state === 'queued') {
    const up = () => attempt(() => patch(`/jobs/${job.id}`, { priority: Math.min(10, job.priority + 1) }));
    found.push(button('queue.sooner', { sign: 'up', look: 'small', on: { click: up } }));
  }
  if (!ACTIVE.includes(job.state)) {
    found.push(button('queue.forget', { sign: 'trash', look: 'small', on: { click: () => attempt(() => remove(`/jobs/${job.id}`)) } }));
  }
  return found;
}

function show(job) {
  $('#queue').close();
  if (job.kind === 'video') {
    change('watched', { watched: job.id });
    location.hash = '#/video';
    return;
  }
  if (isApart(job)) {
    if (job.result) showResult(job.result);
    return;
  }
  location.hash = '#/';
  watch(job);
}

async function forgetEnded() {
  const over = [...jobs.jobs.values()].filter((job) => !job.draft && ['done', 'failed', 'cancelled'].includes(job.state));
  for (const job of over) await attempt(() => remove(`/jobs/${job.id}`));
}

async function attempt(act) {
  clearError($('#queue-error'));
  try {
    await act();
  } catch (error) {
    showError($('#queue-error'), error);
  }
}
