// Messages of the page: errors next to their controls, notices with an Undo button, and announcements for screen readers.

import { button, h, newId, say, set, tell } from './dom.js';
import { hasText, isEnglish, t } from './texts.js';

const SHOWN_MS = 9000;
const SPOKEN_EVERY_MS = 8000;

let spokenAt = 0;
let waiting = null;

/** Announce a text to screen readers, at limited frequency. */
export function speak(text, { now = false } = {}) {
  clearTimeout(waiting);
  const pause = now ? 0 : Math.max(0, spokenAt + SPOKEN_EVERY_MS - Date.now());
  waiting = setTimeout(() => {
    spokenAt = Date.now();
    document.getElementById('spoken').textContent = text;
  }, pause);
}

/** Show a notice. `undo` adds an Undo button; `after` runs when the notice closes without undo. */
export function notice(key, { with: vars, undo, after } = {}) {
  const note = h('li.notice', {}, h('span', { t: key, with: vars }));
  let timer = null;
  let over = false;
  const end = (act) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    note.remove();
    removeEventListener('pagehide', leave);
    act?.();
  };
  const leave = () => end(after);
  const start = () => {
    timer = setTimeout(leave, SHOWN_MS);
  };
  if (undo) note.append(button('notice.undo', { look: 'plain', on: { click: () => end(undo) } }));
  else note.append(button('notice.close', { look: 'plain', sign: 'close', shown: false, on: { click: leave } }));
  // Keep the notice while it is hovered or focused.
  for (const stay of ['mouseenter', 'focusin']) note.addEventListener(stay, () => clearTimeout(timer));
  for (const go of ['mouseleave', 'focusout']) note.addEventListener(go, start);
  addEventListener('pagehide', leave);
  document.getElementById('notices').append(note);
  start();
  return { end: () => end(after) };
}

/** Return the message of an error in the language of the page. Details from the studio are in English. */
export function sentence(error) {
  const { code = 'bug', message = '', field } = error;
  const key = `error.${code}`;
  if (isEnglish()) return { text: message || t(hasText(key) ? key : 'error.bug'), original: '' };
  const found = /is (.+?); it must be a number from (\S+) to (\S+)$/.exec(message);
  if (found && field) return { text: t('error.range', { value: found[1], low: found[2], high: found[3] }), original: '' };
  const wait = error.retry ? { seconds: error.retry } : {};
  return { text: t(hasText(key) ? key : 'error.bug', wait), original: ['option', 'picture', 'clip', 'extra', 'request', 'state'].includes(code) ? message : '' };
}

/** Make the element that shows the errors of a control. */
export function errorPlace() {
  return h('p.error', { id: newId('error'), role: 'alert', hidden: true });
}

export function showError(place, error, control = null) {
  const { text, original } = sentence(error);
  tell(place, text);
  if (original) place.append(' ', h('span', { lang: 'en', text: original }));
  place.hidden = false;
  if (control) {
    set(control, 'aria-invalid', 'true');
    describe(control, place.id, true);
  }
}

export function showErrorText(place, key, vars, control = null) {
  say(place, key, vars);
  place.hidden = false;
  if (control) {
    set(control, 'aria-invalid', 'true');
    describe(control, place.id, true);
  }
}

export function clearError(place, control = null) {
  if (place.hidden) return;
  place.hidden = true;
  tell(place, '');
  if (control) {
    set(control, 'aria-invalid', null);
    describe(control, place.id, false);
  }
}

function describe(control, id, isWanted) {
  const ids = new Set((control.getAttribute('aria-describedby') ?? '').split(' ').filter(Boolean));
  if (isWanted) ids.add(id);
  else ids.delete(id);
  set(control, 'aria-describedby', [...ids].join(' ') || null);
}

// ------------------------------------------------------------------------------------------------ which control

const places = new Map();

/**
 * Register where to show the errors of a field. `place` is the element, `control` is the input, and `reveal` opens its panel.
 * The field of an option starts with the kind of job, as in `instant.color`, because several kinds have options of the same name.
 */
export function registerPlace(field, { place, control = null, reveal = null }) {
  places.set(field, { place, control, reveal });
}

/** The panel with the options of each kind of job. */
const PANELS = { instant: ['instant'], paint: ['paint', 'run'], refine: ['refine', 'instant', 'run'], doodle: ['doodle'], tune: ['tune'], brush: ['brush', 'run'], apply: ['apply'], video: ['video', 'run'] };

/** Show an error next to its control. If the control is not known, show it at the fallback field. `kind` is the kind of job. */
export function showWhere(error, fallback = null, kind = 'paint') {
  const names = [...PANELS[kind].map((panel) => `${panel}.${error.field}`), error.field, fallback];
  const found = names.map((name) => places.get(name)).find((each) => each && (each.reveal || each.place.parentElement.checkVisibility()));
  if (!found) return;
  found.reveal?.();
  showError(found.place, error, found.control);
  found.place.scrollIntoView({ block: 'nearest' });
}

export function clearWhere(...fields) {
  for (const field of fields) {
    const found = places.get(field);
    if (found) clearError(found.place, found.control);
  }
}

export function clearAll() {
  for (const { place, control } of places.values()) clearError(place, control);
}
