// The gallery: list, selection, downloads, contact sheets, comparison.

import { download, get, remove } from './api.js';
import { $, h, icon, lazyImage, newId, once, openDialog, say, set } from './dom.js';
import { isPainting } from './figures.js';
import * as jobs from './jobs.js';
import { clearError, notice, registerPlace, showError, showWhere, speak } from './notices.js';
import { showResult } from './result.js';
import { offer } from './saving.js';
import { Split } from './split.js';
import { facts, on } from './state.js';
import { measure } from './trials.js';
import { bytes, onLanguage, t } from './texts.js';

const PAGE = 40;
const MOST_MEASURED = 8;
const pair = new Split({ names: ['compare.left', 'compare.right'], label: 'compare.label', at: 50 });
const chosen = new Set();
const cards = new Map();
let items = [];
let next = null;
let isShown = false;
let onlyFavorites = false;
let timer = null;

export function setUpGallery() {
  $('#compare-board').append(pair.element);
  registerPlace('gallery', { place: $('#gallery-error') });
  registerPlace('ids', { place: $('#gallery-error') });
  $('#gallery-search').addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(load, 250);
  });
  const favorites = $('#gallery-favorites');
  favorites.addEventListener('click', () => {
    onlyFavorites = !onlyFavorites;
    set(favorites, 'aria-pressed', String(onlyFavorites));
    load();
  });
  $('#gallery-more').addEventListener('click', more);
  $('#choose-none').addEventListener('click', () => chooseAll(false));
  $('#choose-all').addEventListener('click', () => chooseAll(true));
  $('#chosen-save').addEventListener('click', () => offer([...chosen]));
  $('#chosen-sheet').addEventListener('click', () => once($('#chosen-sheet'), sheet));
  $('#chosen-compare').addEventListener('click', compare);
  const pressed = $('#chosen-measure');
  pressed.addEventListener('click', () => measure(inOrder(), { pressed, place: $('#gallery-error') }));
  $('#chosen-delete').addEventListener('click', () => deleteResults([...chosen]));
  jobs.on('job', (job) => isShown && job.state === 'done' && !job.draft && !cards.has(job.result) && load());
  jobs.on('gone', ({ kind, id }) => kind === 'result' && cards.has(id) && drop([id]));
  on('result', ({ result }) => update(result));
  onLanguage(() => pair.translate());
}

export function show(isNow) {
  isShown = isNow;
  if (isNow) load();
}

async function load() {
  clearError($('#gallery-error'));
  try {
    const page = await fetchPage(null);
    items = page.items;
    next = page.next;
    draw();
  } catch (error) {
    showWhere(error, 'gallery');
  }
}

async function more() {
  const page = await fetchPage(next).catch((error) => showWhere(error, 'gallery'));
  if (!page) return;
  items = [...items, ...page.items];
  next = page.next;
  draw();
}

function fetchPage(after) {
  const q = new URLSearchParams({ limit: PAGE });
  if (after) q.set('after', after);
  if (onlyFavorites) q.set('favorite', 'true');
  if ($('#gallery-search').value.trim()) q.set('q', [...$('#gallery-search').value.trim()].slice(0, 100).join(''));
  return get(`/results?${q}`);
}

function draw() {
  cards.clear();
  for (const id of [...chosen]) if (!items.some((each) => each.id === id)) chosen.delete(id);
  $('#results').replaceChildren(...items.map(card));
  $('#gallery-more').hidden = !next;
  const isSearch = onlyFavorites || $('#gallery-search').value.trim();
  $('#no-results').hidden = items.length > 0;
  say($('#no-results'), isSearch ? 'gallery.none' : 'gallery.empty');
  const { disk } = facts.status ?? {};
  $('#disk').hidden = !disk;
  get('/status').then(({ disk: now }) => say($('#disk'), 'gallery.disk', { used: bytes(now.used), quota: bytes(now.quota) }), () => {});
  toolbar();
}

function card(result) {
  const open = h('button.result', { type: 'button', on: { click: () => showResult(result.id) } });
  const picture = lazyImage(result.thumb);
  picture.style.aspectRatio = `${result.width} / ${result.height}`;
  const id = newId('result');
  const title = h('span.result-title', { id, text: result.title });
  open.append(picture, title, h('span.result-kind', { t: `kind.${result.kind}` }));
  const box = h('input', { type: 'checkbox', label: 'gallery.choose', with: { title: result.title } });
  box.checked = chosen.has(result.id);
  box.addEventListener('change', () => {
    if (box.checked) chosen.add(result.id);
    else chosen.delete(result.id);
    toolbar();
  });
  const tick = h('label.tick', {}, box, icon('check'));
  const heart = result.favorite ? h('span.result-heart', {}, icon('heart')) : null;
  const item = h('li', { 'data-result': result.id }, open, tick, heart);
  cards.set(result.id, { item, box });
  return item;
}

function update(result) {
  items = items.map((each) => (each.id === result.id ? result : each));
  if (!cards.has(result.id)) return;
  cards.get(result.id).item.replaceWith(card(result));
}

function chooseAll(isChosen) {
  for (const [id, { box }] of cards) {
    box.checked = isChosen;
    if (isChosen) chosen.add(id);
    else chosen.delete(id);
  }
  toolbar();
}

function toolbar() {
  const count = chosen.size;
  $('#gallery-tools').hidden = !count;
  if (!count) return;
  say($('#chosen-count'), 'gallery.chosen', { count });
  set($('#chosen-compare'), 'disabled', count !== 2);
  const isMeasured = (each) => chosen.has(each.id) && isPainting(each);
  set($('#chosen-measure'), 'disabled', count > MOST_MEASURED || items.filter(isMeasured).length !== count);
  say($('#chosen-save').querySelector('span'), count > 1 ? 'gallery.zip' : 'gallery.download');
}

// ------------------------------------------------------------------------------------------------ selection

async function sheet() {
  clearError($('#gallery-error'));
  try {
    await download(`/results/sheet?ids=${[...chosen].slice(0, 100).join()}`);
  } catch (error) {
    showWhere(error, 'gallery');
  }
}

/** The selected results, oldest first. */
const inOrder = () => items.filter((each) => chosen.has(each.id)).map((each) => each.id).reverse();

function compare() {
  const [left, right] = items.filter((each) => chosen.has(each.id)).reverse();
  pair.shape(left.width, left.height);
  pair.before(left.image);
  pair.after(right.image).then(() => pair.hide(''));
  pair.move(50);
  for (const [name, each] of Object.entries({ left, right })) {
    const styles = each.styles.map((id) => facts.styles.find((style) => style.id === id)?.title ?? id).join(' + ');
    $(`#compare-${name}`).replaceChildren(
      h('strong', { t: `compare.${name}` }),
      h('span', { text: each.title }),
      h('span', { text: styles }),
      h('span', { t: `kind.${each.kind}` }),
    );
  }
  openDialog($('#compare'));
}

/** Hide results immediately, and delete them when the undo notice closes. */
export function deleteResults(ids) {
  const before = items;
  drop(ids);
  const back = () => {
    items = before;
    draw();
  };
  const gone = async () => {
    for (const id of ids) {
      try {
        await remove(`/results/${id}`, { keepalive: true });
      } catch (error) {
        if (error.status === 404) continue;
        back();
        showError($('#gallery-error'), error);
        return;
      }
    }
  };
  notice('gallery.deleted', { with: { count: ids.length }, undo: back, after: gone });
  speak(t('gallery.deleted', { count: ids.length }), { now: true });
}

function drop(ids) {
  items = items.filter((each) => !ids.includes(each.id));
  for (const id of ids) chosen.delete(id);
  draw();
}

