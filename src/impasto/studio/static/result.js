// The result dialog: picture, photo, details and actions.

import { download, get, patch, post, save } from './api.js';
import { $, button, h, openDialog, say, set } from './dom.js';
import { isPainting, isSheet, tableOf } from './figures.js';
import { clearError, notice, showError } from './notices.js';
import { watch } from './painting.js';
import { offer } from './saving.js';
import { Split } from './split.js';
import { change, styleOf, useAgain } from './state.js';
import { bytes, day, duration, hasText, onLanguage, t } from './texts.js';

const split = new Split({ at: 30 });
let result = null;
let onDelete = () => {};
let onMeasure = () => {};

export function setUpResult(whenDeleted, whenMeasured) {
  onDelete = whenDeleted;
  onMeasure = whenMeasured;
  $('#result-board').append(split.element);
  $('#result-title').addEventListener('change', rename);
  $('#result-buttons').append(
    button('save.open', { sign: 'download', look: 'primary', on: { click: () => (result.video ? save(`/results/${result.id}/video`) : offer([result.id])) } }),
    button('result.again', { sign: 'undo', on: { click: () => again(result.request) }, id: 'result-again' }),
    button('job.more', { sign: 'brush', on: { click: () => goOn('more') }, id: 'result-more' }),
    button('result.refine', { sign: 'brush', on: { click: () => goOn('refine') }, id: 'result-refine' }),
    button('result.measure', { sign: 'sheet', on: { click: figure }, id: 'result-measure' }),
    button('training.download', { sign: 'download', on: { click: () => attempt(() => download(`/results/${result.id}/brush`)) }, id: 'result-brush' }),
    button('result.favorite', { sign: 'heart', on: { click: mark }, id: 'result-heart' }),
    button('gallery.delete', { sign: 'trash', on: { click: drop } }),
  );
  $('#result').addEventListener('close', () => $('#result-video').removeAttribute('src'));
  onLanguage(() => {
    split.translate();
    if (result) facts();
  });
}

export async function showResult(id) {
  clearError($('#result-error'));
  result = null;
  split.hide('under');
  try {
    result = await get(`/results/${id}`);
  } catch (error) {
    showError($('#gallery-error'), error);
    return;
  }
  split.shape(result.width, result.height);
  $('#result-title').value = result.title;
  set($('#result-heart'), 'aria-pressed', String(result.favorite));
  $('#result-more').hidden = result.kind !== 'paint';
  const sheet = isSheet(result);
  const isPainted = isPainting(result);
  $('#result-brush').hidden = result.kind !== 'brush';
  const isOfPhoto = result.upload && result.request.content;
  $('#result-refine').hidden = !isPainted || result.kind === 'paint' || !isOfPhoto;
  $('#result-again').hidden = !isPainted || result.kind === 'doodle';
  $('#result-measure').hidden = !isPainted || !isOfPhoto;
  set($('#result-again'), 'disabled', !result.upload);
  facts();
  openDialog($('#result'));
  say(split.tags[0], result.request.content ? 'split.before' : 'doodle.map');
  $('#result-board').hidden = result.video;
  $('#result-video').hidden = !result.video;
  if (result.video) {
    Object.assign($('#result-video'), { poster: result.image, src: result.video });
    return;
  }
  const isAlone = sheet || !result.upload;
  if (!isAlone) split.before(`/api/v1/uploads/${result.upload}/image`);
  const mine = result;
  await split.after(result.image);
  if (mine === result) split.hide(isAlone ? 'over' : '');
}

function facts() {
  const styles = result.styles.map((id) => styleOf(id)?.title ?? id).join(' + ');
  const rows = [
    ['record.styles', styles],
    ['record.brush', result.record.brush?.name],
    ['record.kind', t(`kind.${result.kind}`)],
    ['record.size', `${result.width} × ${result.height} · ${bytes(result.bytes)}`],
    ['record.created', day(result.created)],
    ['record.took', duration(result.seconds)],
    [result.video ? 'record.frames' : 'record.steps', result.record.steps?.done],
    ...Object.entries(result.request.options ?? {}).map(([name, value]) => [`control.${name}`, value, name]),
  ].filter(([, value]) => value !== undefined && value !== null && String(value) !== '');
  $('#result-facts').replaceChildren(...rows.flatMap(row));
  const table = tableOf(result, (trial) => again({ ...result.request, kind: result.record.options.recipe, options: trial.options }));
  $('#result-figures').replaceChildren(...(table ? [table] : []));
}

function row([key, value, name]) {
  const named = hasText(key) ? { t: key } : { text: name ?? key };
  const shown = Array.isArray(value) ? value.join(', ') : String(value);
  const choice = `choice.${name}.${shown}`;
  return [h('dt', named), name && hasText(choice) ? h('dd', { t: choice }) : h('dd', { text: shown })];
}

async function attempt(act) {
  clearError($('#result-error'));
  try {
    return await act();
  } catch (error) {
    showError($('#result-error'), error);
    return null;
  }
}

async function rename() {
  const title = $('#result-title').value.trim();
  if (!title || title === result.title) {
    $('#result-title').value = result.title;
    return;
  }
  const changed = await attempt(() => patch(`/results/${result.id}`, { title }));
  if (changed) tellOthers(changed);
}

async function mark() {
  const changed = await attempt(() => patch(`/results/${result.id}`, { favorite: !result.favorite }));
  if (!changed) return;
  set($('#result-heart'), 'aria-pressed', String(changed.favorite));
  tellOthers(changed);
}

function tellOthers(changed) {
  result = { ...result, ...changed };
  change('result', {}, { result: changed });
}

/** Load photo, styles and settings of the result into the workspace. */
async function again(asked) {
  const photo = await attempt(() => get(`/uploads/${result.upload}`));
  if (!photo) return;
  $('#result').close();
  location.hash = '#/';
  useAgain(asked, photo);
  notice('result.used');
}

async function goOn(how) {
  const started = await attempt(() =>
    how === 'more'
      ? post(`/jobs/${result.job}/continue`, {})
      : post('/jobs', { kind: 'refine', result: result.id, options: refinable(), run: {} }),
  );
  if (!started) return;
  const photo = result.upload ? await get(`/uploads/${result.upload}`).catch(() => null) : null;
  $('#result').close();
  location.hash = '#/';
  if (photo) useAgain(result.request, photo);
  watch(started);
}

const refinable = () => Object.fromEntries(Object.entries(result.request.options ?? {}).filter(([name]) => name !== 'engine'));

const figure = () => onMeasure([result.id], { pressed: $('#result-measure'), place: $('#result-error') });

function drop() {
  $('#result').close();
  onDelete(result.id);
}

