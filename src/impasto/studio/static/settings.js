// The settings panel: options of the instant picture and of the painting.

import { Controls } from './controls.js';
import { $, set } from './dom.js';
import { change, chosenMethod, facts, fieldsOf, on, state } from './state.js';

/** Options without a control here: weights are shown next to their styles, and masks are drawn, never read from the studio's machine. */
const ELSEWHERE = ['style_weights', 'color_mask'];
const METHODS = ['paint', 'refine'];
const BRING_DEFAULTS = ['preset', 'recipe', 'quality'];
const panels = {};

export function setUpSettings() {
  const instant = fieldsOf('instant').filter(isHere);
  const shared = new Set(instant.map((field) => field.name));
  place('instant', instant);
  place('refine', fieldsOf('refine').filter((field) => isHere(field) && !shared.has(field.name)));
  place('paint', fieldsOf('paint').filter(isHere));
  place('run', facts.run.filter((field) => field.name !== 'threads'));
  for (const method of METHODS) {
    $(`#method-${method}`).addEventListener('change', () => {
      change('method', { method });
      showMethod();
    });
  }
  for (const each of document.querySelectorAll('[data-reset]')) {
    each.addEventListener('click', () => each.dataset.reset.split(' ').forEach(reset));
  }
  on('options', ({ whole }) => whole && showAll());
  showAll();
}

const isHere = (field) => !ELSEWHERE.includes(field.name);

function place(kind, fields) {
  const changed = (name, value, isFinal) => {
    const options = { ...state.options[kind] };
    if (value === undefined) delete options[name];
    else options[name] = value;
    state.options = { ...state.options, [kind]: options };
    if (kind === 'paint' && BRING_DEFAULTS.includes(name)) useDefaults();
    change('options', {}, { kind, isFinal });
    showResets();
  };
  const [basic, more] = [$(`#${kind}-basic`), $(`#${kind}-more`)];
  panels[kind] = new Controls({ kind, fields, values: state.options[kind], changed, basic, more });
}

/** Apply the defaults of the selected preset or method, and hide the settings that this preset or method ignores. */
function useDefaults() {
  const { defaults, ignored } = chosenMethod();
  panels.paint.show({ values: state.options.paint, defaults, hidden: ignored });
}

function reset(kind) {
  state.options = { ...state.options, [kind]: {} };
  panels[kind].show({ values: {}, defaults: {} });
  if (kind === 'paint') useDefaults();
  change('options', {}, { kind, isFinal: true });
  showResets();
}

function showAll() {
  for (const [kind, controls] of Object.entries(panels)) controls.show({ values: state.options[kind] });
  useDefaults();
  $(`#method-${state.method}`).checked = true;
  showMethod();
  showResets();
}

function showMethod() {
  $('#refine-basic').hidden = state.method !== 'refine';
  $('#paint-basic').hidden = $('#paint-more').hidden = state.method !== 'paint';
}

function showResets() {
  for (const each of document.querySelectorAll('[data-reset]')) {
    const isUsual = each.dataset.reset.split(' ').every((kind) => !Object.keys(state.options[kind]).length);
    set(each, 'disabled', isUsual);
  }
}

