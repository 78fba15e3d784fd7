// What the user has chosen. A change tells everyone who listens to its subject; what matters survives a reload.

const KEPT = 'impasto.easel';
const listeners = new Map();

export const state = {
  photo: null, // an upload of the API
  styles: [], // [{ id, weight }], one to eight
  mixing: false, // whether a tap adds a style or takes its place
  method: 'paint', // what the big button does: paint, or refine
  options: { instant: {}, paint: {}, refine: {}, tune: {}, run: {} }, // what differs from the defaults
  masks: {}, // id of a style -> id of an upload
  protect: [], // what stays the photo: names of masks
  kept: null, // what stays the photo as it was drawn: id of an upload
  painting: null, // id of the job on the easel
};

/** Everything there is to know before anything is chosen; filled by main.js. */
export const facts = { status: null, recipes: [], run: [], methods: {}, presets: {}, styles: [] };

export function on(subject, listener) {
  if (!listeners.has(subject)) listeners.set(subject, new Set());
  listeners.get(subject).add(listener);
}

export function change(subject, changes = {}, detail = {}) {
  Object.assign(state, changes);
  keep();
  for (const listener of listeners.get(subject) ?? []) listener(detail);
}

export const fieldsOf = (kind) => facts.recipes.find((each) => each.kind === kind)?.fields ?? [];
export const styleOf = (id) => facts.styles.find((each) => each.id === id);

/** Return the defaults that the chosen preset, or method and quality, have of their own, and the settings that do nothing there. */
export function chosenMethod() {
  const chosen = { ...Object.fromEntries(fieldsOf('paint').map((field) => [field.name, field.default])), ...state.options.paint };
  const preset = facts.presets[chosen.preset] ?? {};
  const { defaults, ignored, qualities } = facts.methods[preset.recipe ?? chosen.recipe];
  if (preset.recipe) return { defaults: preset, ignored: [...ignored, 'recipe'] }; // a preset brings its method
  return { defaults: { ...defaults, ...qualities[chosen.quality] }, ignored };
}

/** Return the weights of the styles for a request; empty where all weigh the same. */
export function styleWeights() {
  const weights = state.styles.map((each) => each.weight);
  return weights.every((each) => each === weights[0]) ? [] : weights;
}

/** Return what a job of a kind is asked with. */
export function request(kind) {
  const names = new Set(fieldsOf(kind).map((field) => field.name));
  if (kind === 'paint') chosenMethod().ignored.forEach((name) => names.delete(name));
  const shared = kind === 'refine' ? state.options.instant : {};
  const chosen = { ...shared, ...state.options[kind] };
  const options = Object.fromEntries(Object.entries(chosen).filter(([name]) => names.has(name)));
  const weights = styleWeights();
  const masks = masksInOrder();
  const protect = [...state.protect, ...(state.kept ? [state.kept] : [])];
  if (weights.length && !masks.length) options.style_weights = weights;
  return {
    kind,
    content: state.photo?.id ?? null,
    styles: state.styles.map((each) => each.id),
    options,
    run: kind === 'instant' ? {} : { ...state.options.run },
    ...(masks.length ? { masks } : {}),
    ...(protect.length ? { protect } : {}),
  };
}

function masksInOrder() {
  const found = state.styles.map((each) => state.masks[each.id] ?? null);
  return found.every(Boolean) ? found : [];
}

/** Take the settings of an earlier job; the photo and the styles must be there. */
export function useAgain(asked, photo) {
  const { preset, ...rest } = asked.options ?? {};
  const { style_weights: weights = [], ...options } = rest;
  const kind = asked.kind;
  state.styles = asked.styles.map((id, index) => ({ id, weight: weights[index] ?? 50 }));
  state.mixing = state.styles.length > 1;
  state.options = { ...state.options, instant: {}, paint: {}, refine: {}, run: { ...(asked.run ?? {}) } };
  state.options[kind] = preset ? { preset, ...options } : options;
  if (kind === 'refine') state.options.instant = { ...options };
  if (kind !== 'instant') state.method = kind;
  state.masks = Object.fromEntries((asked.masks ?? []).map((mask, index) => [asked.styles[index], mask]));
  state.protect = (asked.protect ?? []).filter((name) => name.includes(':'));
  state.kept = (asked.protect ?? []).find((name) => !name.includes(':')) ?? null;
  state.painting = null;
  change('photo', { photo });
  change('styles');
  change('options', {}, { whole: true });
}

function keep() {
  const { photo, styles, mixing, method, options, painting } = state;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ photo: photo?.id, styles, mixing, method, options, painting }));
    localStorage.setItem(`${KEPT}.style`, styles[0]?.id ?? '');
  } catch {
    // A browser that keeps nothing begins anew with each reload.
  }
}

/** Return what was chosen before a reload, and the style that was used last. */
export function kept() {
  try {
    return {
      style: localStorage.getItem(`${KEPT}.style`) ?? '',
      ...JSON.parse(sessionStorage.getItem(KEPT) ?? '{}'),
    };
  } catch {
    return { style: '' };
  }
}
