// Elements out of plain values. Text goes in as text alone: nothing here, or anywhere in the page, reads a string as HTML.

import { t } from './texts.js';

const SVG = 'http://www.w3.org/2000/svg';
const values = new WeakMap();
const SLOTS = ['aria-label', 'placeholder', 'title', 'alt', 'aria-roledescription'];
const MARKED = ['[data-t]', ...SLOTS.map((slot) => `[data-t-${slot}]`)].join(',');

/**
 * Make an element: h('button.quiet', { t: 'notice.close', on: { click: close } }, child, child).
 * `t` is the key of its text (with `with` for what stands in braces), `label` that of its aria-label, `hint` of its title,
 * `text` is a text that comes from elsewhere, such as a title. Everything else is an attribute; `true` means empty, and what is
 * `null`, `undefined` or `false` is left out.
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

/** Give an element the text of a key, or one of its attributes; a change of language says it again. */
export function say(element, key, vars, slot = '') {
  element.setAttribute(slot ? `data-t-${slot}` : 'data-t', key);
  const known = values.get(element) ?? {};
  values.set(element, { ...known, [slot]: vars });
  write(element, slot, t(key, vars));
}

/** Give an element a text that is no key's: it stays through a change of language. */
export function tell(element, text) {
  element.removeAttribute('data-t');
  element.textContent = text;
}

/** Say all texts again, in the language that is chosen now. */
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

/** Draw one of the page's icons; they are shapes of index.html. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, 'svg');
  drawing.setAttribute('class', 'icon');
  drawing.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  drawing.append(use);
  return drawing;
}

/** Make a button with an icon; `name` is the key of what it does, shown as text where `shown`. */
export function button(name, { look = 'quiet', sign = null, shown = true, with: vars, ...props } = {}) {
  const inside = [sign && icon(sign), shown && h('span', { t: name, with: vars })];
  const named = shown ? {} : { label: name, hint: name };
  return h(`button.${look}${shown ? '' : '.round'}`, { type: 'button', with: vars, ...named, ...props }, inside);
}

export const $ = (selector, root = document) => root.querySelector(selector);

let count = 0;
/** Make an id that no other element has. */
export function newId(stem) {
  count += 1;
  return `${stem}-${count}`;
}

export const isCalm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

/** Make an image appear only when it can be seen soon, so that a shelf costs what is looked at. */
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

/** Open a dialog that closes by Escape, by its button, and by a press beside it. */
export function openDialog(dialog) {
  if (!dialog.dataset.ready) {
    dialog.dataset.ready = 'yes';
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    for (const closer of dialog.querySelectorAll('[data-close]')) closer.addEventListener('click', () => dialog.close());
  }
  if (!dialog.open) dialog.showModal();
}
