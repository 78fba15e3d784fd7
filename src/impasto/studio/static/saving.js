// Saving the current picture to the gallery, and downloading pictures.

import { download, order, resultImage } from './api.js';
import { $, h, once, openDialog, say, set } from './dom.js';
import * as jobs from './jobs.js';
import { clearError, clearWhere, notice, registerPlace, showError, showErrorText, showWhere, speak } from './notices.js';
import { on, request, state } from './state.js';
import { t } from './texts.js';
import * as workspace from './workspace.js';

const FORMS = ['png', 'jpeg', 'webp'];
const FORM = 'impasto.form';
/** The request (as text) and the result of the last saved picture. They prevent the same picture from being saved twice. */
let last = { asked: '', result: null };
let ids = null;

export function setUpSaving() {
  registerPlace('keep', { place: $('#paint-error'), control: $('#keep') });
  $('#keep').addEventListener('click', () => once($('#keep'), keep));
  $('#download').addEventListener('click', () => offer(null));
  $('#form').append(...FORMS.map(formChoice));
  $('#fetch').addEventListener('click', fetchIt);
  jobs.on('gone', ({ id }) => id === last.result && (last = { asked: '', result: null }));
  on('scene', showWhat);
  on('view', showWhat);
  on('photo', showWhat);
  showWhat();
}

function formChoice(form) {
  const radio = h('input', { type: 'radio', name: 'form', value: form });
  radio.checked = form === remembered();
  return h('label', {}, radio, h('span', { t: `save.${form}` }));
}

/** The job of the painting on display, or null. A finished painting is already in the gallery. */
const painted = () => (workspace.view === 'painting' ? jobs.jobs.get(state.painting) : null);

function showWhat() {
  const job = painted();
  const isUnfinished = Boolean(job && !job.result);
  for (const name of ['#keep', '#download']) set($(name), 'disabled', !state.photo || isUnfinished);
  $('#keep').hidden = Boolean(job?.result);
}

async function keep() {
  clearWhere('keep');
  try {
    await result();
    notice('save.kept');
    speak(t('save.kept'), { now: true });
  } catch (error) {
    showWhere(error, 'keep');
  }
}

/** Return the id of the result on display. An instant picture is first repainted at its full size. */
async function result() {
  const job = painted();
  if (job?.result) return job.result;
  const asked = request('instant');
  const text = JSON.stringify(asked);
  if (last.asked === text && last.result) return last.result;
  const done = await jobs.ended(await order({ ...asked, priority: 4 }));
  if (done.state !== 'done') throw done.error ?? { code: 'cancelled', message: t('save.stopped') };
  last = { asked: text, result: done.result };
  if (workspace.view === 'instant' && JSON.stringify(request('instant')) === text) workspace.put('instant', resultImage(done.result));
  return done.result;
}

// ------------------------------------------------------------------------------------------------ downloads

/** Open the dialog for the given results. If no results are given, open it for the picture in the workspace. */
export function offer(some) {
  if (!some && !state.photo) {
    showErrorText($('#photo-error'), 'error.no_photo', {}, $('#choose-photo'));
    return;
  }
  ids = some;
  clearError($('#fetch-error'), $('#fetch'));
  say($('#saving-title'), ids?.length > 1 ? 'save.several' : 'save.title', { count: ids?.length ?? 1 });
  $('#fetch-status').hidden = true;
  openDialog($('#saving'));
}

async function fetchIt() {
  const form = $('input[name="form"]:checked').value;
  const record = $('#with-record').checked;
  remember(form);
  const place = $('#fetch-error');
  clearError(place, $('#fetch'));
  set($('#fetch'), 'disabled', true);
  $('#fetch-status').hidden = false;
  try {
    const how = `format=${form}&record=${record}`;
    const wanted = ids ?? [await result()];
    const path = wanted.length > 1 ? `/results/zip?ids=${wanted.join()}&${how}` : `/results/${wanted[0]}/export?${how}`;
    await download(path);
    $('#saving').close();
  } catch (error) {
    showError(place, error, $('#fetch'));
  } finally {
    set($('#fetch'), 'disabled', null);
    $('#fetch-status').hidden = true;
  }
}

function remembered() {
  try {
    const kept = localStorage.getItem(FORM);
    return FORMS.includes(kept) ? kept : FORMS[0];
  } catch {
    return FORMS[0];
  }
}

function remember(form) {
  try {
    localStorage.setItem(FORM, form);
  } catch {
    // If storage is not available, the choice applies until a reload.
  }
}

