// The workspace: the photo, the painted picture on top of it, and the selected view.

import { $, say, set, tell } from './dom.js';
import { Split } from './split.js';
import { change, on, state } from './state.js';
import { onLanguage } from './texts.js';

const AT_FIRST = 38;
const split = new Split({ at: AT_FIRST });
const pictures = { instant: null, painting: null };
let isComparing = true;
let isMasking = false;

export let view = 'instant';
export const board = split;

export function setUpWorkspace() {
  $('#board').append(split.element);
  for (const name of ['instant', 'painting']) $(`#view-${name}`).addEventListener('change', () => look(name));
  const compare = $('#compare-toggle');
  compare.addEventListener('click', () => {
    isComparing = !isComparing;
    set(compare, 'aria-pressed', String(isComparing));
    draw();
  });
  on('photo', arrive);
  on('arriving', ({ address }) => {
    for (const name of Object.keys(pictures)) pictures[name] = null;
    const image = new Image();
    image.onload = () => split.shape(image.naturalWidth, image.naturalHeight);
    image.src = address;
    split.before(address);
    show(true);
    look('instant');
  });
  onLanguage(() => split.translate());
}

function arrive() {
  const { photo } = state;
  show(Boolean(photo));
  for (const name of Object.keys(pictures)) pictures[name] = null;
  view = 'instant';
  if (photo) {
    split.shape(photo.width, photo.height);
    split.before(photo.image);
    tell($('#photo-name'), photo.name);
  }
  look('instant');
}

function show(hasPhoto) {
  $('#welcome').hidden = hasPhoto;
  $('#workspace').hidden = !hasPhoto;
  document.body.classList.toggle('has-photo', hasPhoto);
}

/** Set the picture of one of the two views. */
export async function put(name, address) {
  pictures[name] = address;
  if (view === name) await draw();
}

export function look(name) {
  view = name;
  $(`#view-${name}`).checked = true;
  draw();
  change('view');
}

export function masking(isOn) {
  isMasking = isOn;
  $('#workspace').classList.toggle('is-masking', isOn);
  draw();
}

/** Show a status line under the picture. An empty key hides the line. */
export function status(key, vars) {
  const line = $('#stage-status');
  line.classList.toggle('is-busy', Boolean(key));
  if (key) say(line, key, vars);
  else tell(line, '');
}

async function draw() {
  const address = pictures[view];
  if (address) await split.after(address);
  if (pictures[view] !== address) return;
  split.hide(isMasking || !address ? 'under' : isComparing ? '' : 'over');
  $('#compare-toggle').hidden = !address || isMasking;
}
