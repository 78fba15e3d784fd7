// Jobs whose result is a sheet. They measure results or compare settings.

import { order } from './api.js';
import { Controls } from './controls.js';
import { $, once, openDialog, say, set } from './dom.js';
import * as jobs from './jobs.js';
import { clearAll, clearError, notice, registerPlace, showError, showErrorText, showWhere } from './notices.js';
import { words } from './painting.js';
import { showResult } from './result.js';
import { change, fieldsOf, on, state } from './state.js';

let tried = null; // id of the job in the dialog

export function setUpTrials() {
  const changed = (name, value) => {
    const options = { ...state.options.tune };
    if (value === undefined) delete options[name];
    else options[name] = value;
    state.options = { ...state.options, tune: options };
    change('options', {}, { kind: 'tune', isFinal: true });
  };
  const [basic, more] = [$('#tune-basic'), $('#tune-more')];
  const controls = new Controls({ kind: 'tune', fields: fieldsOf('tune'), values: state.options.tune, changed, basic, more });
  // A one-pass painting has no steps, so hide this control.
  const suit = () => ($('#tune [data-field=steps]').closest('.control').hidden = $('#tune [data-field=recipe] :checked').value !== 'paint');
  on('options', ({ whole }) => {
    if (whole) controls.show({ values: state.options.tune });
    suit();
  });
  suit();
  registerPlace('tune', { place: $('#tune-error') });
  $('#tune-open').addEventListener('click', open);
  $('#tune-start').addEventListener('click', begin);
  $('#tune-stop').addEventListener('click', () => tried && jobs.stop(tried, 'finish').catch(failed));
  jobs.on('job', (job) => job.id === tried && show(job));
}

function open() {
  if (!state.photo) {
    showErrorText($('#photo-error'), 'error.no_photo', {}, $('#choose-photo'));
    $('#choose-photo').focus();
    return;
  }
  clearError($('#tune-error'));
  openDialog($('#tune'));
}

async function begin() {
  clearAll();
  set($('#tune-start'), 'disabled', true);
  try {
    const styles = state.styles.slice(0, 1).map((each) => each.id);
    const job = await order({ kind: 'tune', content: state.photo.id, styles, options: { ...state.options.tune } });
    tried = job.id;
    show(jobs.take(job));
  } catch (error) {
    failed(error);
  }
}

function failed(error) {
  set($('#tune-start'), 'disabled', null);
  showWhere(error, 'tune', 'tune');
}

function show(job) {
  const isOver = jobs.hasEnded(job);
  set($('#tune-start'), 'disabled', !isOver);
  $('#tune-going').hidden = isOver;
  $('#tune-stop').hidden = job.state !== 'running' || !job.progress;
  const [line, vars] = words(job);
  say($('#tune-line'), line, vars);
  if (job.progress) $('#tune-bar').value = job.progress.share;
  else $('#tune-bar').removeAttribute('value');
  $('#tune-sheet').hidden = !job.preview;
  if (job.preview) set($('#tune-sheet'), 'src', job.preview);
  if (!isOver) return;
  tried = null;
  if (job.state === 'failed') failed(job.error);
  else if (job.state === 'done' && $('#tune').open) {
    $('#tune').close();
    showResult(job.result);
  } else if (job.state === 'done') notice('tune.ready');
}

/** Measure results, and show their metrics. */
export const measure = (ids, { pressed, place }) =>
  once(pressed, async () => {
    clearError(place);
    try {
      const job = await jobs.ended(await order({ kind: 'report', results: ids, priority: 3 }));
      if (job.state === 'failed') throw job.error;
      if (job.state === 'done') await showResult(job.result);
    } catch (error) {
      showError(place, error);
    }
  });
