// The settings panel: options of the instant picture and of the painting.

import { Controls } from './controls.js';
import { $, set } from './dom.js';
import { change, chosenMethod, facts, fieldsOf, on, state } from './state.js';

/** Weights are shown next to their styles. Masks are drawn, never given as files of the studio's machine. */
const ELSEWHERE = ['style_weights', 'color_mask'];
const METHODS = ['paint', 'refine'];
const BRING_DEFAULTS = ['preset', 'recipe', 'quality'];
const panels = {};

export function setUpSettings() {
  const instant = fieldsOf('instant').filter(isHere);
  const shared = new Set(instant.map((field) => field.name));
  place('instant', instant, '#instant-basic', '#instant-more');
  place('refine', fieldsOf('refine').filter((field) => isHere(field) && !shared.has(field.name)), '#refine-basic', '#refine-basic');
  place('paint', fieldsOf('paint').filter(isHere), '#paint-basic', '#paint-more');
  place('run', facts.run.filter((field) => field.name !== 'threads'), '#paint-more', '#paint-more');
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

function place(kind, fields, basic, more) {
  const reveal = () => {
    for (let part = panels[kind].element.closest('details'); part; part = part.parentElement.closest('details')) part.open = true;
    $(more).closest('details')?.setAttribute('open', '');
  };
  const changed = (name, value, isFinal) => {
    const options = { ...state.options[kind] };
    if (value === undefined) delete options[name];
    else options[name] = value;
    state.options = { ...state.options, [kind]: options };
    if (kind === 'paint' && BRING_DEFAULTS.includes(name)) useDefaults();
    change('options', {}, { kind, isFinal });
    showResets();
  };
  const controls = new Controls({ kind, fields, values: state.options[kind], changed, reveal });
  panels[kind] = { controls, element: $(basic) };
  const first = (field) => field.basic && kind !== 'run';
  // For the instant picture, the size comes last.
  $(basic).append(...controls.elements((field) => first(field) && field.name !== 'size' && kind === 'instant'));
  $(basic).append(...controls.elements((field) => first(field) && (field.name === 'size' || kind !== 'instant')));
  $(more).append(...controls.elements((field) => !field.basic || kind === 'run'));
}

/** Apply the defaults of the selected preset or method and hide the settings that it ignores. */
function useDefaults() {
  const { defaults, ignored } = chosenMethod();
  panels.paint.controls.show({ values: state.options.paint, defaults, hidden: ignored });
}

function reset(kind) {
  state.options = { ...state.options, [kind]: {} };
  panels[kind].controls.show({ values: {}, defaults: {} });
  if (kind === 'paint') useDefaults();
  change('options', {}, { kind, isFinal: true });
  showResets();
}

function showAll() {
  for (const [kind, { controls }] of Object.entries(panels)) controls.show({ values: state.options[kind] });
  useDefaults();
  $(`#method-${state.method}`).checked = true;
  showMethod();
  showResets();
}

function showMethod() {
  $('#refine-settings').hidden = state.method !== 'refine';
  $('#paint-settings').hidden = state.method !== 'paint';
}

function showResets() {
  for (const each of document.querySelectorAll('[data-reset]')) {
    const isUsual = each.dataset.reset.split(' ').every((kind) => !Object.keys(state.options[kind]).length);
    set(each, 'disabled', isUsual);
  }
}

