// The current painting: start, watch, stop, continue.

import { order, post, resultImage } from './api.js';
import { $, button, once, say, tell } from './dom.js';
import { isSheet } from './figures.js';
import * as jobs from './jobs.js';
import { masksAreThere } from './mask.js';
import { clearAll, registerPlace, showError, showErrorText, showWhere, speak } from './notices.js';
import { change, on, request, state } from './state.js';
import { duration, onLanguage, t } from './texts.js';
import * as workspace from './workspace.js';

let spoken = '';
let going = ''; // id of the last job seen running
/** A stop request for a running job, until it takes effect. */
const asked = new Map();

export function setUpPainting() {
  registerPlace('paint', { place: $('#paint-error'), control: $('#paint') });
  $('#paint').addEventListener('click', () => once($('#paint'), begin));
  jobs.on('job', (job) => job.id === state.painting && show(job));
  jobs.on('gone', ({ id }) => id === state.painting && putAway());
  on('photo', () => !state.painting && hide());
  onLanguage(() => current() && show(current()));
}

const current = () => jobs.jobs.get(state.painting);

async function begin() {
  clearAll();
  if (!state.photo) {
    showErrorText($('#photo-error'), 'error.no_photo', {}, $('#choose-photo'));
    $('#choose-photo').focus();
    return;
  }
  try {
    if (await masksAreThere()) {
      watch(await order(request(state.method)));
      $('#painting').scrollIntoView({ block: 'nearest' });
    }
  } catch (error) {
    showWhere(error, 'paint', state.method);
  }
}

/** Show a job in the workspace. */
export function watch(job) {
  state.painting = job.id;
  spoken = '';
  change('painting');
  jobs.take(job);
  workspace.look('painting');
  show(jobs.jobs.get(job.id));
}

function putAway() {
  change('painting', { painting: null });
  hide();
}

function hide() {
  $('#painting').hidden = true;
  $('#views').hidden = true;
  if (workspace.view === 'painting') workspace.look('instant');
}

// ------------------------------------------------------------------------------------------------ display

function show(job) {
  if (jobs.hasEnded(job)) asked.delete(job.id);
  $('#painting').hidden = false;
  $('#views').hidden = false;
  const share = job.state === 'done' ? 1 : (job.progress?.share ?? 0);
  const bar = $('#painting-bar');
  bar.value = share;
  bar.hidden = job.state === 'done';
  if (job.state === 'queued' || (job.state === 'running' && !job.progress)) bar.removeAttribute('value');
  $('#painting').dataset.state = job.state;
  tell($('#view-painting-share'), job.state === 'running' && job.progress ? `${Math.round(share * 100)} %` : '');
  say($('#painting-line'), ...words(job));
  const picture = job.result ? resultImage(job.result) : job.preview;
  if (picture) workspace.put('painting', picture);
  const place = $('#painting-error');
  place.hidden = job.state !== 'failed';
  if (job.state === 'failed') {
    showError(place, job.error);
    if (going === job.id && job.error.field) showWhere(job.error, null, job.kind); // also show the error next to its control
  }
  going = jobs.hasEnded(job) ? '' : job.id;
  const names = buttons(job).map(([name]) => name).join();
  if ($('#painting-buttons').dataset.names !== names) drawButtons(job, names);
  announce(job, share);
  change('scene');
}

export function words(job) {
  const { progress } = job;
  const left = job.eta_seconds === null ? '' : duration(job.eta_seconds);
  if (asked.has(job.id) && job.state === 'running') return ['painting.stopping'];
  const how = progress ? { step: progress.step, steps: progress.steps, width: progress.size[0], height: progress.size[1], left } : {};
  const ofClip = job.kind === 'video' && wordsOfClip(job, how);
  if (ofClip) return ofClip;
  if (job.state === 'queued') return job.position ? ['painting.queued', { count: job.position, left }] : ['painting.next', { left }];
  if (job.state === 'running' && !progress) return ['painting.starting', { left }];
  if (job.state === 'running' && isSheet(job)) return ['tune.running', how];
  if (job.state === 'running' && job.kind === 'brush') return [left ? 'training.running' : 'training.running_unknown', how];
  if (job.state === 'running') return [left ? 'painting.running' : 'painting.running_unknown', how];
  const isApart = isSheet(job) || job.kind === 'brush';
  if (job.state === 'done') return [isApart ? 'tune.done' : 'painting.done', { took: duration(progress?.seconds || job.finished - job.started) }];
  if (job.state === 'failed') return ['painting.failed'];
  const state_ = job.state === 'paused' ? 'paused' : 'cancelled';
  return progress ? [`painting.${state_}`, how] : [`painting.${state_}_early`];
}

/** Show the state and progress of a job. Return its words. */
export function showState(job, { going: section, status, bar }) {
  section.hidden = false;
  section.dataset.state = job.state;
  const said = words(job);
  say(status, ...said);
  bar.hidden = jobs.hasEnded(job);
  if (job.progress) bar.value = job.progress.share;
  else bar.removeAttribute('value');
  return said;
}

/** A clip has frames, not steps, and its duration is unknown before some of them are painted. */
function wordsOfClip({ state: now, position, progress }, how) {
  if (now === 'queued') return position ? ['video.queued', { count: position }] : ['video.next'];
  if (now === 'running' && !progress) return ['video.cuts'];
  if (now === 'running') return [how.left ? 'video.running' : 'video.running_unknown', how];
  if (now === 'paused' && progress) return ['video.paused', how];
  return now === 'cancelled' && progress ? ['video.cancelled', how] : null;
}

/** The actions that the state of a job allows: [text key, icon, API action]. */
export function buttons(job) {
  const all = {
    pause: ['job.pause', 'pause', 'pause'],
    finish: ['job.finish', 'check', 'finish'],
    cancel: ['job.cancel', 'close', 'cancel'],
    continue: ['job.continue', 'play', 'continue'],
    more: ['job.more', 'brush', 'continue'],
    retry: ['job.retry', 'undo', 'retry'],
  };
  const isPainted = ['paint', 'refine', 'brush'].includes(job.kind);
  const stops = { tune: ['finish', 'cancel'], video: ['pause', 'cancel'] }[job.kind] ?? ['cancel'];
  const of = {
    queued: ['cancel'],
    running: isPainted ? ['pause', 'finish', 'cancel'] : stops,
    paused: ['continue', ...(job.progress && isPainted ? ['finish'] : []), 'cancel'],
    cancelled: [...(job.can_continue ? ['continue', ...(job.kind === 'video' ? [] : ['finish'])] : []), 'retry'],
    failed: [...(job.can_continue ? ['continue'] : []), 'retry'],
    done: job.kind === 'paint' && job.result ? ['more'] : [],
  }[job.state];
  return of.map((name) => all[name]);
}

function drawButtons(job, names) {
  const place = $('#painting-buttons');
  const had = place.contains(document.activeElement);
  place.dataset.names = names;
  place.replaceChildren(
    ...buttons(job).map(([name, sign, what]) => button(name, { sign, on: { click: () => ask(job.id, what) }, 'data-do': what })),
  );
  if (had) (place.querySelector('button') ?? $('#paint')).focus();
}

/** Run an action on a job. Return the job in its new state. */
export async function ask(id, what, body = {}) {
  const place = $('#painting-error');
  place.hidden = true;
  try {
    if (['pause', 'finish', 'cancel'].includes(what)) asked.set(id, what);
    const job = await post(`/jobs/${id}/${what}`, body);
    jobs.take(job);
    if (id !== state.painting) return job;
    if (job.id === id) workspace.look('painting');
    else watch(job);
    return job;
  } catch (error) {
    asked.delete(id);
    if (id === state.painting) showError(place, error);
    throw error;
  }
}

/** Announce changes of state and every quarter of the progress to screen readers. */
function announce(job, share) {
  const quarter = job.state === 'running' ? Math.floor(share * 4) : 0;
  const now = `${job.id} ${job.state} ${quarter}`;
  if (now === spoken) return;
  spoken = now;
  speak(t(...words(job)), { now: job.state !== 'running' });
}
