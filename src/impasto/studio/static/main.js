// Start of the page. This module loads facts and texts, sets up every part, and restores the state from before a reload.

import { get } from './api.js';
import { $, button, icon, set, translate } from './dom.js';
import { deleteResults, setUpGallery, show as showGallery } from './gallery.js';
import { setUpIntake } from './intake.js';
import * as jobs from './jobs.js';
import { setUpMask } from './mask.js';
import { showErrorText } from './notices.js';
import { setUpPainting, watch } from './painting.js';
import { setUpPreview } from './preview.js';
import { setUpQueue } from './queue.js';
import { setUpResult } from './result.js';
import { setUpSaving } from './saving.js';
import { setUpSettings } from './settings.js';
import { setUpShelf } from './shelf.js';
import { change, facts, kept, state, styleOf } from './state.js';
import { LANGUAGES, chooseLanguage, languageNow, loadLanguage, onLanguage, preferredLanguage, retell, t } from './texts.js';
import { measure, setUpTrials } from './trials.js';
import { setUpWorkspace } from './workspace.js';

async function begin() {
  const words = loadLanguage(preferredLanguage());
  const asked = Promise.all([get('/status'), get('/recipes'), get('/styles')]);
  await words;
  translate();
  setUpLanguages();
  for (const head of document.querySelectorAll('.dialog-head')) {
    head.append(button('notice.close', { sign: 'close', shown: false, 'data-close': true }));
  }
  for (const place of document.querySelectorAll('[data-icon]')) place.prepend(icon(place.dataset.icon));
  try {
    const [status, recipes, styles] = await asked;
    Object.assign(facts, { status, recipes: recipes.recipes, run: recipes.run, styles: styles.items });
    Object.assign(facts, { methods: recipes.methods, presets: recipes.presets });
  } catch (error) {
    showErrorText($('#line'), error.code === 'token' ? 'error.token' : 'line.never');
    return;
  }
  const before = kept();
  restoreOptions(before);
  setUpEverything();
  retell();
  chooseFirstStyle(before);
  await restoreWork(before);
  route();
  addEventListener('hashchange', route);
  document.body.dataset.ready = 'yes';
}

function setUpEverything() {
  setUpWorkspace();
  setUpShelf();
  setUpSettings();
  setUpMask();
  setUpPreview();
  setUpPainting();
  setUpSaving();
  setUpGallery();
  setUpResult((id) => deleteResults([id]), measure);
  setUpTrials();
  setUpQueue();
  setUpIntake();
  jobs.on('line', (isThere) => {
    $('#line').hidden = isThere;
    if (!isThere) showErrorText($('#line'), 'line.lost');
  });
  jobs.connect();
}

function restoreOptions({ options, method, mixing, clip }) {
  const kinds = facts.recipes.map((each) => each.kind);
  if (options) state.options = { ...state.options, ...options };
  if (kinds.includes(method)) state.method = method;
  state.mixing = Boolean(mixing);
  state.clip = clip ?? '';
}

function chooseFirstStyle({ styles, style }) {
  const there = (styles ?? []).filter((each) => styleOf(each.id));
  const first = styleOf(style) ? style : facts.styles[0]?.id;
  change('styles', { styles: there.length ? there : first ? [{ id: first, weight: 50 }] : [] });
}

async function restoreWork({ photo, painting }) {
  if (!photo) return;
  const found = await get(`/uploads/${photo}`).catch(() => null);
  if (!found) return;
  change('photo', { photo: found });
  const job = painting && (await get(`/jobs/${painting}`).catch(() => null));
  if (job) watch(job);
}

// ------------------------------------------------------------------------------------------------ views, languages

/** Modules of pages, loaded when they are needed. */
const LATER = { '#/doodle': () => import('./doodle.js'), '#/training': () => import('./training.js'), '#/video': () => import('./video.js') };
const loaded = {};

async function showLater() {
  const isOn = location.hash in LATER;
  document.querySelectorAll('#stage, #settings, #actions').forEach((each) => (each.hidden = isOn));
  try {
    if (isOn && !loaded[location.hash]) {
      const address = location.hash;
      const page = await LATER[address]();
      if (!loaded[address]) page.setUp();
      loaded[address] = page;
    }
    for (const [address, page] of Object.entries(loaded)) if (address !== location.hash) page.visit(false);
    loaded[location.hash]?.visit(true);
  } catch {
    showErrorText($('#line'), 'error.network');
  }
}

function route() {
  const isGallery = location.hash === '#/gallery';
  const isLater = location.hash in LATER;
  $('#studio').hidden = isGallery;
  $('#gallery').hidden = !isGallery;
  set($('#to-studio'), 'aria-current', isGallery || isLater ? null : 'page');
  for (const name of ['doodle', 'training', 'video']) set($(`#to-${name}`), 'aria-current', location.hash === `#/${name}` ? 'page' : null);
  set($('#to-gallery'), 'aria-current', isGallery ? 'page' : null);
  document.body.dataset.view = isGallery ? 'gallery' : 'studio';
  document.title = t(isGallery ? 'app.title_gallery' : 'app.title');
  showGallery(isGallery);
  showLater();
  scrollTo(0, 0);
}

function setUpLanguages() {
  const choice = $('#language');
  for (const [code, name] of Object.entries(LANGUAGES)) {
    const option = document.createElement('option');
    option.value = code;
    option.lang = code;
    option.textContent = name;
    choice.append(option);
  }
  choice.value = languageNow();
  choice.addEventListener('change', () => chooseLanguage(choice.value));
  onLanguage(() => {
    translate();
    route();
  });
}

begin();
