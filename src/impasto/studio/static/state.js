// State of the page. change() notifies the listeners of a subject. The essential state survives a reload.

const KEPT = 'impasto.studio';
const listeners = new Map();

export const state = {
  photo: null, // an upload of the API
  styles: [], // [{ id, weight }], one to eight
  mixing: false, // whether a tap adds a style to the mix instead of replacing the style
  method: 'paint', // kind of job that the Paint button starts: paint or refine
  options: { instant: {}, paint: {}, refine: {}, doodle: {}, brush: {}, video: {}, tune: {}, run: {} }, // options that differ from the defaults
  masks: {}, // id of a style -> id of an upload
  protect: [], // names of masks of regions that stay unchanged
  kept: null, // id of the upload with the drawn mask of the region that stays unchanged
  painting: null, // id of the job shown in the workspace
  clip: '', // id of the clip on the video page
  clipFile: null, // a clip that was dropped and is not uploaded yet
  watched: '', // id of the job on the video page
};

/** Facts from the API, which main.js loads. */
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

/** Return the defaults and the ignored settings of the selected preset, or of the selected method and quality. */
export function chosenMethod() {
  const chosen = { ...Object.fromEntries(fieldsOf('paint').map((field) => [field.name, field.default])), ...state.options.paint };
  const preset = facts.presets[chosen.preset] ?? {};
  const { defaults, ignored, qualities } = facts.methods[preset.recipe ?? chosen.recipe];
  if (preset.recipe) return { defaults: preset, ignored: [...ignored, 'recipe'] }; // a preset sets its method
  return { defaults: { ...defaults, ...qualities[chosen.quality] }, ignored };
}

/** Return the style weights for a request. The list is empty if all weights are equal. */
export function styleWeights() {
  const weights = state.styles.map((each) => each.weight);
  return weights.every((each) => each === weights[0]) ? [] : weights;
}

/** Return the request of a job. */
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

/** Restore the settings of an earlier job. The photo and the styles of the job must exist. */
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
  const { photo, styles, mixing, method, options, painting, clip } = state;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ photo: photo?.id, styles, mixing, method, options, painting, clip }));
    localStorage.setItem(`${KEPT}.style`, styles[0]?.id ?? '');
  } catch {
    // If storage is not available, the state is lost on reload.
  }
}

/** Return the state from before the reload, and the last used style. */
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
