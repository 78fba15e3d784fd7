// Form controls from the option descriptions of the API, with the help texts and ranges of the command line.

import { button, h, newId, say, set, tell } from './dom.js';
import { clearError, errorPlace, registerPlace, showErrorText } from './notices.js';
import { hasText, isEnglish, onLanguage, t } from './texts.js';

const SLIDERS_UP_TO = 10; // options with a larger maximum get a number field
const SIZES = [512, 1024, 2048];
const SEGMENTS_UP_TO = 3;
const LISTS = ['integers', 'numbers', 'texts'];

/**
 * Make the controls of some fields. Basic controls go to the element `basic`. The others go to `more`, in one section per group.
 * `changed(name, value, isFinal)` is called after each change; `value` is undefined for the default.
 */
export class Controls {
  constructor({ kind, fields, values, changed, basic, more }) {
    Object.assign(this, { kind, fields, values: { ...values }, changed, defaults: {}, hidden: [] });
    this.shown = new Map();
    this.sections = new Map();
    for (const field of fields) {
      const made = make(kind, field, (value, isFinal) => this.#changed(field, value, isFinal));
      this.shown.set(field.name, made);
      const place = field.basic ? basic : this.#section(field.group, more).lastChild;
      place.append(made.element);
      const reveal = () => this.sections.get(field.group)?.setAttribute('open', '');
      registerPlace(`${kind}.${field.name}`, { place: made.error, control: made.control, reveal });
    }
    this.show();
    onLanguage(() => this.show());
  }

  #section(group, more) {
    if (!this.sections.has(group)) {
      const section = h('details', {}, h('summary'), h('div.controls'));
      this.sections.set(group, section);
      more.append(section);
    }
    return this.sections.get(group);
  }

  /** Update values, defaults (such as those of a preset) and hidden controls. */
  show({ values = this.values, defaults = this.defaults, hidden = this.hidden } = {}) {
    Object.assign(this, { values: { ...values }, defaults, hidden });
    for (const field of this.fields) {
      const made = this.shown.get(field.name);
      made.show(this.values[field.name] ?? defaults[field.name] ?? field.default);
      made.words();
      made.element.hidden = hidden.includes(field.name);
    }
    for (const [group, section] of this.sections) {
      const key = `group.${group}`;
      tell(section.firstChild, hasText(key) ? t(key) : group);
      section.hidden = this.fields.every((field) => field.group !== group || hidden.includes(field.name));
    }
  }

  #changed(field, value, isFinal) {
    const made = this.shown.get(field.name);
    clearError(made.error, made.control);
    const wrong = problem(field, value);
    if (wrong) {
      showErrorText(made.error, wrong.key, { name: label(this.kind, field), ...wrong }, made.control);
      return;
    }
    const usual = this.defaults[field.name] ?? field.default;
    if (JSON.stringify(value) === JSON.stringify(usual)) delete this.values[field.name];
    else this.values[field.name] = value;
    this.changed(field.name, this.values[field.name], isFinal);
  }
}

/** Validate a value in the page. Return the error, or null if the value is valid. */
export function problem(field, value) {
  if (field.kind === 'integer' || field.kind === 'number') {
    if (value === null || Number.isNaN(value)) return { key: 'error.number' };
    if (field.kind === 'integer' && !Number.isInteger(value)) return { key: 'error.whole' };
    if (field.zero && value === 0) return null;
    if (field.minimum !== null && (value < field.minimum || value > field.maximum)) {
      return { key: 'error.range', value, low: field.minimum, high: field.maximum };
    }
  }
  if (field.kind === 'texts' && field.choices) {
    const unknown = value.find((each) => !field.choices.includes(each));
    if (unknown !== undefined) return { key: 'error.choice', value: unknown };
  }
  if ((field.kind === 'numbers' || field.kind === 'integers') && value.some(Number.isNaN)) return { key: 'error.number' };
  return null;
}

const label = (kind, { name }) => {
  const key = [`control.${kind}.${name}`, `control.${name}`].find(hasText);
  return key ? t(key) : plain(name);
};
const plain = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll('_', ' ');
const choice = (field, value) => {
  const key = `choice.${field.name}.${value}`;
  return hasText(key) ? t(key) : value;
};

/** Replace the command-line flags in a help text by the labels of their controls. */
const here = (kind, help) => help.replace(/--([a-z][a-z-]*)/g, (_, flag) => `“${label(kind, { name: flag.replaceAll('-', '_') })}”`);

function make(kind, field, changed) {
  const id = newId(`control-${field.name}`);
  const made = { error: errorPlace() };
  const help = h('p.help', { id: `${id}-help` });
  Object.assign(made, input(kind, field, id, changed));
  set(made.control, 'aria-describedby', help.id);
  made.control.dataset.field = field.name;
  const name = made.isGroup ? h('span.name', { id: `${id}-name` }) : h('label.name', { for: id });
  if (made.isGroup) set(made.control, 'aria-labelledby', name.id);
  const head = h('div.control-head', {}, name, made.aside);
  made.element = h(`div.control.control-${field.kind}`, {}, head, made.body ?? made.control, help, made.error);
  const rename = made.words ?? (() => {});
  made.words = () => {
    tell(name, label(kind, field));
    const key = [`help.${kind}.${field.name}`, `help.${field.name}`].find(hasText);
    const isTranslated = !isEnglish() && key;
    tell(help, isTranslated ? t(key) : here(kind, field.help));
    set(help, 'lang', isEnglish() || isTranslated ? null : 'en');
    rename();
  };
  return made;
}

function input(kind, field, id, changed) {
  if (field.kind === 'boolean') return toggle(id, changed);
  if (field.kind === 'choice') {
    return field.choices.length <= SEGMENTS_UP_TO ? segments(field, id, changed) : select(field, id, changed);
  }
  if (LISTS.includes(field.kind)) return list(field, id, changed);
  if (field.kind === 'text') return text(id, changed);
  const isSlider = field.kind === 'number' && field.maximum !== null && field.maximum <= SLIDERS_UP_TO;
  return isSlider ? slider(field, id, changed) : number(kind, field, id, changed);
}

function slider({ minimum, maximum, default: usual }, id, changed) {
  // If the range spans a decade or more, the slider is logarithmic.
  const isEven = minimum <= 0 || maximum / minimum < 10;
  const of = (at) => (isEven ? at : minimum * (maximum / minimum) ** at);
  const at = (value) => (isEven ? value : Math.log(value / minimum) / Math.log(maximum / minimum));
  const rounded = (value) => Number(value.toFixed(value < 1 ? 2 : value < 3 ? 2 : 1));
  const control = h('input', { type: 'range', id, min: isEven ? minimum : 0, max: isEven ? maximum : 1, step: isEven ? 0.05 : 0.01 });
  const shown = h('output', { for: id });
  const reset = button('control.reset', { look: 'plain', sign: 'undo', shown: false, on: { click: () => put(usual, true) } });
  const tellValue = (value) => {
    tell(shown, value.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 3 }));
    set(control, 'aria-valuetext', String(value));
    reset.classList.toggle('is-away', value === usual);
    set(reset, 'tabindex', value === usual ? '-1' : '0');
    const span = Number(control.max) - Number(control.min);
    control.style.setProperty('--filled', `${((Number(control.value) - Number(control.min)) / span) * 100}%`);
  };
  const put = (value, isFinal) => {
    control.value = String(at(value));
    tellValue(value);
    changed(value, isFinal);
    if (document.activeElement === reset) control.focus();
  };
  const read = () => {
    const value = rounded(of(Number(control.value)));
    return Math.abs(value - usual) < 0.02 * usual ? usual : value;
  };
  const heard = (isFinal) => {
    tellValue(read());
    changed(read(), isFinal);
  };
  control.addEventListener('input', () => heard(false));
  control.addEventListener('change', () => heard(true));
  const show = (value) => {
    control.value = String(at(value));
    tellValue(value);
  };
  return { control, aside: h('span.value', {}, reset, shown), show };
}

function number(kind, field, id, changed) {
  const step = field.kind === 'integer' ? 1 : 'any';
  const control = h('input', { type: 'number', id, step, inputmode: field.kind === 'integer' ? 'numeric' : 'decimal' });
  if (!field.zero && field.minimum !== null) set(control, 'min', field.minimum);
  if (field.maximum !== null && field.maximum <= 1e9) set(control, 'max', field.maximum);
  control.addEventListener('change', () => changed(control.value === '' ? null : Number(control.value), true));
  const show = (value) => {
    if (document.activeElement !== control || Number(control.value) !== value) control.value = String(value);
    for (const each of quick) set(each, 'aria-pressed', String(Number(each.dataset.value) === value));
  };
  const quick = field.name === 'size' ? [...SIZES, ...(field.zero ? [0] : [])].map((size) => quickSize(kind, size, put)) : [];
  function put(size) {
    control.value = String(size);
    changed(size, true);
    show(size);
  }
  control.addEventListener('change', () => show(Number(control.value)));
  return { control, body: h('div.number', {}, control, quick), show };
}

function quickSize(kind, size, put) {
  const named = size ? { text: String(size) } : { t: { tune: 'control.size.itself', video: 'control.size.clip' }[kind] ?? 'control.size.photo' };
  return h('button.chip', { type: 'button', 'data-value': size, 'aria-pressed': 'false', on: { click: () => put(size) }, ...named });
}

function toggle(id, changed) {
  const control = h('input.switch', { type: 'checkbox', role: 'switch', id });
  control.addEventListener('change', () => changed(control.checked, true));
  return { control, aside: control, body: '', show: (value) => (control.checked = value) };
}

function segments(field, id, changed) {
  const parts = field.choices.map((value) => {
    const radio = h('input', { type: 'radio', name: id, value });
    radio.addEventListener('change', () => changed(value, true));
    return { value, radio, name: h('span') };
  });
  const control = h('div.segments', { role: 'radiogroup', id }, parts.map(({ radio, name }) => h('label', {}, radio, name)));
  const show = (value) => parts.forEach((part) => (part.radio.checked = part.value === value));
  const words = () => parts.forEach((part) => tell(part.name, choice(field, part.value)));
  return { control, isGroup: true, show, words };
}

function select(field, id, changed) {
  const options = field.choices.map((value) => h('option', { value }));
  const control = h('select', { id }, options);
  control.addEventListener('change', () => changed(control.value, true));
  const words = () => options.forEach((option) => tell(option, choice(field, option.value)));
  return { control, body: h('div.select', {}, control), show: (value) => (control.value = value), words };
}

function text(id, changed) {
  const control = h('input', { type: 'text', id, autocomplete: 'off' });
  control.addEventListener('change', () => changed(control.value, true));
  return { control, show: (value) => (control.value = value) };
}

function list(field, id, changed) {
  const control = h('input', { type: 'text', id, autocomplete: 'off', spellcheck: 'false' });
  say(control, 'control.list', undefined, 'placeholder');
  const read = () => {
    const parts = control.value.split(/[\s,，、]+/).filter(Boolean);
    return field.kind === 'texts' ? parts : parts.map(Number);
  };
  control.addEventListener('change', () => changed(read(), true));
  return { control, show: (value) => (control.value = (value ?? []).join(', ')) };
}
