// Two overlaid pictures with a movable boundary: before and after, or two results.

import { h, say, set } from './dom.js';
import { t } from './texts.js';

const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 };

export class Split {
  /** `names` are the text keys of the two pictures. */
  constructor({ names = ['split.before', 'split.after'], label = 'split.label', at = 50 } = {}) {
    this.names = names;
    this.under = h('img.split-under', { alt: names[1], draggable: 'false' });
    this.over = h('img.split-over', { alt: names[0], draggable: 'false' });
    this.tags = names.map((name, index) => h(`span.split-tag.split-tag-${index}`, { t: name, 'aria-hidden': 'true' }));
    this.handle = h('div.split-handle', {
      role: 'slider',
      tabindex: '0',
      label,
      'aria-orientation': 'horizontal',
      'aria-valuemin': '0',
      'aria-valuemax': '100',
    });
    this.layers = h('div.split-layers');
    this.element = h('div.split', {}, this.under, this.over, this.tags, this.layers, this.handle);
    this.handle.addEventListener('keydown', (event) => this.#key(event));
    this.element.addEventListener('pointerdown', (event) => this.#drag(event));
    this.move(at);
    this.hide('over');
  }

  /** Set the aspect ratio of the pictures and their container. */
  shape(width, height) {
    for (const box of [this.element, this.element.parentElement]) box.style.setProperty('--ratio', String(width / height));
  }

  before(address) {
    this.over.src = address;
    this.element.classList.remove('is-bare');
  }

  /** Show another picture. To avoid flicker, wait until it has loaded. The latest request wins. */
  async after(address) {
    this.wanted = address;
    const next = new Image();
    next.src = address;
    await next.decode().catch(() => {});
    if (this.wanted !== address) return false;
    this.under.src = address;
    this.element.classList.remove('no-under');
    return true;
  }

  /** `over` hides the upper picture, and `under` hides the lower picture. Both hide the boundary. */
  hide(which) {
    this.element.classList.toggle('no-handle', which === 'over' || which === 'under');
    this.element.classList.toggle('no-over', which === 'over');
    this.element.classList.toggle('no-under', which === 'under');
    set(this.handle, 'tabindex', which ? '-1' : '0');
    set(this.handle, 'aria-hidden', which ? 'true' : null);
  }

  move(at) {
    this.at = Math.min(100, Math.max(0, at));
    this.element.style.setProperty('--at', `${this.at}%`);
    set(this.handle, 'aria-valuenow', String(Math.round(this.at)));
    set(this.handle, 'aria-valuetext', t('split.value', { share: Math.round(this.at) }));
    this.tags[0].classList.toggle('is-faint', this.at < 14);
    this.tags[1].classList.toggle('is-faint', this.at > 86);
  }

  #key(event) {
    const ends = { Home: -100, End: 100 };
    const by = STEPS[event.key] ?? ends[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.move(this.at + by);
  }

  #drag(event) {
    if (this.element.classList.contains('no-handle') || event.button !== 0 || event.target.closest('canvas')) return;
    event.preventDefault();
    this.handle.focus({ preventScroll: true });
    const box = this.element.getBoundingClientRect();
    const follow = (moved) => this.move(((moved.clientX - box.left) / box.width) * 100);
    const stop = () => {
      removeEventListener('pointermove', follow);
      removeEventListener('pointerup', stop);
      removeEventListener('pointercancel', stop);
    };
    addEventListener('pointermove', follow);
    addEventListener('pointerup', stop);
    addEventListener('pointercancel', stop);
    follow(event);
  }

  /** Update texts that are not the text of an element. */
  translate() {
    this.move(this.at);
    say(this.under, this.names[1], undefined, 'alt');
  }
}
