// Tables of metrics and of compared settings, shown with their sheet.

import { button, h } from './dom.js';
import { hasText, isEnglish, t } from './texts.js';

export const SHEETS = ['report', 'tune'];
export const isSheet = ({ kind }) => SHEETS.includes(kind);
/** Whether a result can be measured and refined: it is a photo painted in a style. */
export const isPainting = ({ kind }) => ![...SHEETS, 'brush', 'apply', 'video'].includes(kind);

/** Make the table of a sheet. Return null if the result is not a sheet. `use(trial)` is called with the selected trial. */
export function tableOf(result, use) {
  if (result.kind === 'report') return figures(result.record);
  if (result.kind === 'tune') return trials(result.record, use);
  return null;
}

function figures({ figures: kinds, reports }) {
  const heads = reports.map((each) => h('th', { scope: 'col', text: each.result }));
  return table('figure.table', h('tr', {}, h('th', { scope: 'col', t: 'figure.name' }), heads), kinds.map((kind) => row(kind, reports)));
}

function row(kind, reports) {
  const key = `figure.${kind.name}`;
  const title = hasText(key) ? t(key) : kind.title;
  const help = `help.figure_${kind.name}`;
  const isTranslated = !isEnglish() && hasText(help);
  const meaning = isTranslated ? t(help) : kind.meaning;
  const lang = isEnglish() || isTranslated ? null : 'en';
  const name = h('th', { scope: 'row' }, title, h('span.help', { text: meaning, lang }), h('span.help', { t: better(kind.better) }));
  return h('tr', {}, name, reports.map((report) => cell(kind, report[kind.name])));
}

const better = (word) => `figure.better_${['higher', 'lower'].includes(word) ? word : 'free'}`;

function cell(kind, value) {
  if (value === null) return h('td', { text: '–' });
  const shown = value.toLocaleString(undefined, { maximumFractionDigits: kind.name.startsWith('color') ? 1 : 3 });
  if (kind.bound === null) return h('td', { text: shown });
  const isFaulty = value > kind.bound;
  return h(isFaulty ? 'td.is-faulty' : 'td', {}, `${shown} `, h('span', { t: isFaulty ? 'figure.faulty' : 'figure.clean' }));
}

function trials({ trials: all, best, found, options }, use) {
  const names = Object.keys(all[0].options);
  const heads = [...names.map((name) => `control.${name}`), 'figure.style_closed', 'tune.use'];
  const rows = all.map((trial, index) => {
    const numbers = [...names.map((name) => trial.options[name]), trial.report.style_closed];
    const mark = index === best ? h('span.help', { t: 'tune.best' }) : null;
    const cells = numbers.map((value, at) => h('td', {}, value.toLocaleString(undefined, { maximumFractionDigits: 3 }), at === names.length ? mark : null));
    const said = numbers.slice(0, -1).map((value, at) => `${t(heads[at])} ${value}`).join(', ');
    const press = button('tune.use', { look: 'small', sign: 'check', shown: false, with: undefined, on: { click: () => use(trial) } });
    press.setAttribute('aria-label', `${t('tune.use')}: ${said}`);
    return h(index === best ? 'tr.is-best' : 'tr', {}, cells, h('td', {}, press));
  });
  const missed = found === false ? h('p.help', { t: 'tune.missed', with: { wanted: options.wanted_style } }) : null;
  return h('div', {}, missed, table('tune.table', h('tr', {}, heads.map((key) => h('th', { scope: 'col', t: key }))), rows));
}

function table(name, head, rows) {
  const made = h('table.figures', { label: name }, h('thead', {}, head), h('tbody', {}, rows));
  return h('div.figures-room', { tabindex: '0', role: 'region', label: name }, made);
}
