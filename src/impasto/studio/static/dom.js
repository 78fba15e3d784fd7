// Functions that make and update elements. Strings are inserted only as text, and nothing in the page parses a string as HTML.

import { t } from './texts.js';

const SVG = 'http://www.w3.org/2000/svg';
const values = new WeakMap();
const SLOTS = ['aria-label', 'placeholder', 'title', 'alt', 'aria-roledescription'];
const MARKED = ['[data-t]', ...SLOTS.map((slot) => `[data-t-${slot}]`)].join(',');

/**
 * Make an element: h('button.quiet', { t: 'notice.close', on: { click: close } }, child, child).
 * `t` is the key of its text, and `with` contains the variables of this text. `label` is the key of its aria-label, and `hint` is the
 * key of its title. `text` is a string that is not in the catalog, such as the title of a picture. All other properties are
 * attributes: `true` sets an empty attribute, and `null`, `undefined` and `false` omit the attribute.
 */
export function h(selector, props = {}, ...children) {
  const [tag, ...classes] = selector.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  const { t: key, label, hint, alt, placeholder, with: vars, text, on = {}, ...rest } = props;
  if (key) say(element, key, vars);
  if (text !== undefined && text !== null) element.textContent = text;
  const named = { 'aria-label': label, title: hint, placeholder, alt };
  for (const [slot, of] of Object.entries(named)) if (of) say(element, of, vars, slot);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(rest)) set(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? '' : value);
}

/** Run a task that a button starts; a second click does nothing until the task ends. */
export async function once(element, task) {
  if (element.hasAttribute('aria-busy')) return;
  set(element, 'aria-busy', 'true');
  try {
    await task();
  } finally {
    set(element, 'aria-busy', null);
  }
}

/** Set the text or an attribute of an element to the text of a key. The text is updated when the language changes. */
export function say(element, key, vars, slot = '') {
  element.setAttribute(slot ? `data-t-${slot}` : 'data-t', key);
  const known = values.get(element) ?? {};
  values.set(element, { ...known, [slot]: vars });
  write(element, slot, t(key, vars));
}

/** Set the text of an element to a string that does not depend on the language. */
export function tell(element, text) {
  element.removeAttribute('data-t');
  element.textContent = text;
}

/** Update all texts to the current language. */
export function translate(root = document) {
  for (const element of root.querySelectorAll(MARKED)) {
    const vars = values.get(element) ?? {};
    if (element.dataset.t) write(element, '', t(element.dataset.t, vars['']));
    for (const slot of SLOTS) {
      const key = element.getAttribute(`data-t-${slot}`);
      if (key) write(element, slot, t(key, vars[slot]));
    }
  }
}

function write(element, slot, text) {
  if (slot) element.setAttribute(slot, text);
  else element.textContent = text;
}

/** Make an icon. Its shape is a symbol in index.html. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, 'svg');
  drawing.setAttribute('class', 'icon');
  drawing.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  drawing.append(use);
  return drawing;
}

/** Make a button with an icon. `name` is the key of its label. If `shown` is true, the label is visible as text. */
export function button(name, { look = 'quiet', sign = null, shown = true, with: vars, ...props } = {}) {
  const inside = [sign && icon(sign), shown && h('span', { t: name, with: vars })];
  const named = shown ? {} : { label: name, hint: name };
  return h(`button.${look}${shown ? '' : '.round'}`, { type: 'button', with: vars, ...named, ...props }, inside);
}

export const $ = (selector, root = document) => root.querySelector(selector);

let count = 0;
/** Return a unique element id. */
export function newId(stem) {
  count += 1;
  return `${stem}-${count}`;
}

/** Load images only when they are about to become visible. */
const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      target.src = target.dataset.src;
      seen.unobserve(target);
    }
  },
  { rootMargin: '120px' },
);

export function lazyImage(address, props = {}) {
  const image = h('img', { alt: null, decoding: 'async', ...props });
  if (!image.hasAttribute('alt')) image.setAttribute('alt', '');
  image.dataset.src = address;
  seen.observe(image);
  return image;
}

/** Open a dialog that closes with Escape, its button or a click outside. */
export function openDialog(dialog) {
  if (!dialog.dataset.ready) {
    dialog.dataset.ready = 'yes';
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    for (const closer of dialog.querySelectorAll('[data-close]')) closer.addEventListener('click', () => dialog.close());
  }
  if (!dialog.open) dialog.showModal();
}
