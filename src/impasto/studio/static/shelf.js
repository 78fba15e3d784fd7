// The styles: select, mix, search, mark as favorites, add and remove.

import { get, patch, post, remove, upload } from './api.js';
import { $, button, h, icon, lazyImage, say, set, tell } from './dom.js';
import * as jobs from './jobs.js';
import { clearWhere, notice, registerPlace, showWhere, speak } from './notices.js';
import { change, facts, on, state, styleOf } from './state.js';
import { onLanguage, t } from './texts.js';

const MOST = 8;
const cards = new Map();
let onlyFavorites = false;
let list;

export function setUpShelf() {
  list = $('#styles');
  registerPlace('styles', { place: $('#styles-error'), control: list });
  registerPlace('style_weights', { place: $('#styles-error'), control: $('#chosen') });
  $('#style-search').addEventListener('input', filter);
  const favorites = $('#only-favorites');
  favorites.addEventListener('click', () => {
    onlyFavorites = !onlyFavorites;
    set(favorites, 'aria-pressed', String(onlyFavorites));
    filter();
  });
  $('#mix').addEventListener('change', (event) => mix(event.target.checked));
  const chooser = $('#style-file');
  $('#add-style').addEventListener('click', () => chooser.click());
  chooser.addEventListener('change', () => {
    addOwn([...chooser.files]);
    chooser.value = '';
  });
  list.addEventListener('keydown', walk);
  on('styles', show);
  on('masks', show); // masks replace the weights
  onLanguage(show);
  jobs.on('gone', ({ kind, id }) => kind === 'style' && forget(id));
  draw();
}

export async function reload() {
  facts.styles = (await get('/styles')).items;
  draw();
}

function draw() {
  cards.clear();
  list.replaceChildren(...facts.styles.map(card));
  filter();
  show();
}

/** Return the name of the artist without the dates in parentheses. */
export const painter = (style) => style.artist.replace(/\s*\(.*$/, '');

function card(style) {
  const name = h('span.style-name', { text: style.title });
  const by = style.artist ? h('span.style-by', { text: painter(style) }) : h('span.style-by', { t: 'shelf.own' });
  const press = h('button.style', { type: 'button', 'aria-pressed': 'false', on: { click: () => choose(style.id) } });
  press.append(h('span.style-picture', {}, lazyImage(style.preview, { width: '192', height: '192' }), icon('check')), name, by);
  const heart = button('shelf.favorite', { look: 'heart', sign: 'heart', shown: false, with: { title: style.title } });
  set(heart, 'aria-pressed', String(style.favorite));
  heart.addEventListener('click', () => mark(style, heart));
  const item = h('li', { 'data-style': style.id }, press, heart);
  cards.set(style.id, { item, press, heart });
  return item;
}

/** Make the card of a brush, for a list of brushes. `choose` receives the id of the chosen brush. */
export function brushCard(brush, chosen, choose) {
  const press = h('button.style', { type: 'button', 'data-brush': brush.id, 'aria-pressed': String(brush.id === chosen) });
  press.addEventListener('click', () => {
    choose(brush.id);
    for (const each of press.closest('ul').querySelectorAll('[data-brush]')) set(each, 'aria-pressed', String(each === press));
  });
  const picture = h('span.style-picture', {}, brush.preview && lazyImage(brush.preview, { width: '192', height: '192' }));
  const by = h('span.style-by', brush.origin === 'trained' ? { t: 'training.yours' } : { text: painter(brush) });
  press.append(picture, h('span.style-name', { text: brush.title }), by);
  return h('li', {}, press);
}

/** Roving tabindex: the Tab key reaches one card, and the arrow keys move between cards. */
function walk(event) {
  const forward = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const seen = [...cards.values()].filter(({ item }) => !item.hidden);
  const here = seen.findIndex(({ item }) => item.contains(document.activeElement));
  if (here < 0) return;
  const ends = { Home: 0, End: seen.length - 1 };
  const next = forward ? here + forward * stride(event.key, seen) : ends[event.key];
  if (next === undefined || !seen[next]) return;
  event.preventDefault();
  reach(seen[next]);
  seen[next].press.focus();
}

/** Return the number of cards in a row. */
function stride(key, seen) {
  if (key === 'ArrowLeft' || key === 'ArrowRight') return 1;
  const [first] = seen;
  const below = seen.findIndex(({ item }) => item.offsetTop > first.item.offsetTop);
  return below > 0 ? below : 1;
}

function reach(only) {
  for (const card_ of cards.values()) {
    for (const each of [card_.press, card_.heart]) set(each, 'tabindex', card_ === only ? '0' : '-1');
  }
}

function filter() {
  const words = $('#style-search').value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const style of facts.styles) {
    const text = `${style.id} ${style.title} ${style.artist} ${style.date}`.toLowerCase();
    const fits = words.every((word) => text.includes(word)) && (!onlyFavorites || style.favorite);
    cards.get(style.id).item.hidden = !fits;
    found += fits ? 1 : 0;
  }
  const seen = [...cards.values()].filter(({ item }) => !item.hidden);
  reach(seen.find(({ press }) => press.ariaPressed === 'true') ?? seen[0]);
  const none = $('#no-styles');
  none.hidden = found > 0;
  if (!found) say(none, onlyFavorites && !words.length ? 'shelf.no_favorites' : 'shelf.none');
  if (words.length) speak(t('shelf.found', { count: found }));
}

// ------------------------------------------------------------------------------------------------ choosing

export function choose(id) {
  clearWhere('styles', 'style_weights');
  const isThere = state.styles.some((each) => each.id === id);
  let styles = [{ id, weight: 50 }];
  if (state.mixing) {
    if (!isThere && state.styles.length >= MOST) {
      notice('shelf.most', { with: { count: MOST } });
      return;
    }
    const others = state.styles.filter((each) => each.id !== id);
    styles = isThere ? others : [...state.styles, { id, weight: 50 }];
    if (!styles.length) return;
  } else if (isThere && state.styles.length === 1) {
    change('again');
    return;
  }
  change('styles', { styles });
}

function mix(isMixing) {
  const styles = isMixing ? state.styles : state.styles.slice(0, 1);
  const isAnotherPicture = styles.length !== state.styles.length;
  change(isAnotherPicture ? 'styles' : 'mixing', { mixing: isMixing, styles });
}

function show() {
  for (const [id, { press }] of cards) set(press, 'aria-pressed', String(state.styles.some((each) => each.id === id)));
  const chosenCard = cards.get(state.styles.at(-1)?.id);
  if (chosenCard && !chosenCard.item.hidden) reach(chosenCard);
  $('#mix').checked = state.mixing;
  const about = $('#chosen');
  const chosen = state.styles.map((each) => ({ ...each, style: styleOf(each.id) })).filter((each) => each.style);
  about.replaceChildren(...(chosen.length > 1 ? chosen.map(weighed) : chosen.map(described)));
}

function described({ style }) {
  const from = [painter(style), style.date].filter(Boolean).join(' · ');
  const words = h('div.chosen-words', {}, h('strong', { text: style.title }), from ? h('span', { text: from }) : null);
  if (style.origin !== 'upload') return h('li.chosen-one', {}, words);
  if (!from) words.append(h('span', { t: 'shelf.own' }));
  const drop = button('shelf.remove', { look: 'plain', sign: 'trash', shown: false, with: { title: style.title } });
  drop.addEventListener('click', () => removeOwn(style));
  return h('li.chosen-one', {}, words, drop);
}

function weighed({ id, weight, style }) {
  const total = () => state.styles.reduce((sum, each) => sum + each.weight, 0) || 1;
  const share = h('output', { class: 'share' });
  const slider = h('input', { type: 'range', min: 0, max: 100, step: 5, label: 'shelf.weight', with: { title: style.title } });
  slider.value = String(weight);
  slider.disabled = Object.keys(state.masks).length > 0;
  slider.dataset.share = id;
  const tellShares = () => {
    for (const each of state.styles) {
      const found = $(`[data-share="${CSS.escape(each.id)}"]`, $('#chosen'));
      if (!found) continue;
      const percent = Math.round((each.weight / total()) * 100);
      tell(found.nextElementSibling, `${percent} %`);
      set(found, 'aria-valuetext', `${percent} %`);
      found.style.setProperty('--filled', `${found.value}%`);
    }
  };
  slider.addEventListener('input', () => {
    clearWhere('style_weights');
    state.styles = state.styles.map((each) => (each.id === id ? { ...each, weight: Number(slider.value) } : each));
    tellShares();
    change('weights');
  });
  queueMicrotask(tellShares);
  const drop = button('shelf.leave', { look: 'plain', sign: 'close', shown: false, with: { title: style.title } });
  drop.addEventListener('click', () => choose(id));
  const picture = h('img', { src: style.preview });
  picture.alt = '';
  return h('li.chosen-many', {}, picture, h('span.style-name', { text: style.title }), drop, slider, share);
}

// ------------------------------------------------------------------------------------------------ own styles, favorites

async function mark(style, heart) {
  style.favorite = !style.favorite;
  set(heart, 'aria-pressed', String(style.favorite));
  try {
    await patch(`/styles/${style.id}`, { favorite: style.favorite });
  } catch (error) {
    style.favorite = !style.favorite;
    set(heart, 'aria-pressed', String(style.favorite));
    showWhere(error, 'styles');
  }
  if (onlyFavorites) filter();
}

export async function addOwn(files) {
  clearWhere('styles');
  const tile = $('#add-style');
  set(tile, 'aria-busy', 'true');
  try {
    for (const file of files.slice(0, MOST)) {
      const sent = await upload(file, file.name || 'style');
      const style = await post('/styles', { upload: sent.id, title: '' });
      facts.styles = [style, ...facts.styles];
      draw();
      choose(style.id);
      speak(t('shelf.added', { title: style.title }), { now: true });
    }
  } catch (error) {
    showWhere({ ...error, code: error.code, message: error.message, field: null }, 'styles');
  } finally {
    set(tile, 'aria-busy', null);
  }
}

function removeOwn(style) {
  forget(style.id);
  const back = () => {
    facts.styles = [style, ...facts.styles];
    draw();
    choose(style.id);
  };
  const gone = () => remove(`/styles/${style.id}`, { keepalive: true }).catch((error) => {
    back();
    showWhere(error, 'styles');
  });
  notice('shelf.removed', { with: { title: style.title }, undo: back, after: gone });
}

function forget(id) {
  if (!styleOf(id)) return;
  facts.styles = facts.styles.filter((each) => each.id !== id);
  const styles = state.styles.filter((each) => each.id !== id);
  if (styles.length !== state.styles.length) {
    change('styles', { styles: styles.length ? styles : facts.styles.slice(0, 1).map(({ id: first }) => ({ id: first, weight: 50 })) });
  }
  draw();
}
