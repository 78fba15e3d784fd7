// Texts of the page: one catalog per language, and the choice of language.

export const LANGUAGES = { en: 'English', zh: '中文' };
const REMEMBERED = 'impasto.language';

let catalog = null; // null until a language is loaded
let language = 'en';
let prefix = '';
let plural = new Intl.PluralRules('en');
const listeners = new Set();

export const languageNow = () => language;
export const isEnglish = () => language === 'en';

/** Return the stored language, or the browser's preferred one. */
export function preferredLanguage() {
  const kept = remembered();
  if (kept in LANGUAGES) return kept;
  const wanted = (navigator.languages ?? [navigator.language]).map((each) => each.toLowerCase().split('-')[0]);
  return wanted.find((each) => each in LANGUAGES) ?? 'en';
}

/** Set the catalog of a page. By default, a page uses the catalog of the studio. */
export function useCatalog(name) {
  prefix = `${name}.`;
}

export async function loadLanguage(chosen) {
  const answer = await fetch(`/static/texts/${prefix}${chosen}.json`);
  catalog = await answer.json();
  language = chosen;
  plural = new Intl.PluralRules(chosen);
  document.documentElement.lang = chosen === 'zh' ? 'zh-Hans' : chosen;
  retell();
}

/** Notify all listeners of the language. */
export function retell() {
  for (const listener of listeners) listener();
}

export async function chooseLanguage(chosen) {
  await loadLanguage(chosen);
  try {
    localStorage.setItem(REMEMBERED, chosen);
  } catch {
    // If storage is not available, the language applies until a reload.
  }
}

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED) ?? '';
  } catch {
    return '';
  }
}

export const onLanguage = (listener) => listeners.add(listener);
export const hasText = (key) => key in (catalog ?? {});

/** Return the text of a key. `{name}` is replaced by vars.name; vars.count selects `.one` or `.other`. */
export function t(key, vars = {}) {
  if (!catalog) return '';
  let text = catalog[key];
  if (text === undefined && vars.count !== undefined) {
    text = catalog[`${key}.${plural.select(vars.count)}`] ?? catalog[`${key}.other`];
  }
  if (text === undefined) {
    console.error(`no text: ${key} (${language})`);
    return key;
  }
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in vars ? shown(vars[name]) : all));
}

const shown = (value) => (typeof value === 'number' ? value.toLocaleString(language) : String(value));

/** Return a rounded duration as text. */
export function duration(seconds) {
  const rounded = Math.max(1, Math.round(seconds));
  if (rounded <= 10) return t('time.seconds', { count: rounded });
  if (rounded < 55) return t('time.seconds', { count: Math.round(rounded / 5) * 5 });
  if (rounded < 3600) return t('time.minutes', { count: Math.max(1, Math.round(rounded / 60)) });
  return t('time.hours', { count: Math.round(rounded / 360) / 10 });
}

export const day = (seconds) =>
  new Date(seconds * 1000).toLocaleString(language === 'zh' ? 'zh-CN' : language, { dateStyle: 'medium', timeStyle: 'short' });

export function bytes(count) {
  const [unit, of] = [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]].find(([, least]) => count >= least) ?? ['kB', 1e3];
  const shown = count / of;
  return `${shown < 10 ? shown.toFixed(1) : Math.round(shown)} ${unit}`;
}
