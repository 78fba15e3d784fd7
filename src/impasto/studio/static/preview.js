// The instant picture. It is repainted after every change: first at a small size, and at a larger size when the user pauses.

import { order, resultImage, wasAborted } from './api.js';
import { ended } from './jobs.js';
import { clearWhere, registerPlace, showWhere, speak } from './notices.js';
import { $ } from './dom.js';
import { facts, on, request, state } from './state.js';
import { t } from './texts.js';
import * as workspace from './workspace.js';

const SMALL = 512;
const LARGE = 1024;
const PAUSE_MS = { tap: 0, slider: 140, larger: 1100 };

let timer = null;
let asking = null;

export function setUpPreview() {
  registerPlace('preview', { place: $('#preview-error') });
  on('photo', () => soon('tap'));
  on('styles', () => soon('tap'));
  on('again', () => soon('tap'));
  on('weights', () => soon('slider'));
  on('masks', () => soon('tap'));
  on('options', ({ kind, isFinal }) => !['paint', 'run', 'tune'].includes(kind) && soon(isFinal ? 'tap' : 'slider'));
}

function soon(how) {
  clearTimeout(timer);
  asking?.abort();
  workspace.status('');
  if (!state.photo || !state.styles.length || ['#/doodle', '#/training', '#/video'].includes(location.hash)) return;
  timer = setTimeout(() => paint(SMALL), PAUSE_MS[how]);
}

async function paint(edge) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const asked = request('instant');
  const size = asked.options.size ?? 0;
  const most = size ? Math.min(size, edge) : edge;
  const isFirst = edge === SMALL;
  if (isFirst) {
    clearWhere('preview', ...Object.keys(asked.options).map((name) => `instant.${name}`), 'styles', 'masks', 'protect');
    workspace.status(facts.status?.ready === false ? 'preview.waking' : 'preview.painting');
    if (workspace.view !== 'instant') workspace.look('instant');
  }
  try {
    const options = { ...asked.options, size: most };
    const first = await order({ ...asked, options, draft: true, slot: 'preview', priority: 5 }, { signal });
    const job = await ended(first, { signal });
    if (signal.aborted || job.state === 'cancelled') return;
    if (job.state !== 'done') throw job.error;
    await workspace.put('instant', resultImage(job.result));
    if (signal.aborted) return;
    workspace.status('');
    if (isFirst) speak(t('preview.here'));
    const isWorthMore = isFirst && Math.max(state.photo.width, state.photo.height) > SMALL && (!size || size > SMALL);
    if (isWorthMore) timer = setTimeout(() => paint(LARGE), PAUSE_MS.larger);
  } catch (error) {
    if (wasAborted(error) || signal.aborted) return;
    workspace.status('');
    if (error.code === 'busy') timer = setTimeout(() => paint(edge), 1000 * (Number(error.retry) || 2));
    showWhere(error, 'preview', 'instant');
  }
}
