// A round brush on a canvas, with pointer and keyboard control, and a ring that shows its size.

import { h, tell } from './dom.js';
import { speak } from './notices.js';
import { t } from './texts.js';

export class Brush {
  /**
   * `slider` is the input for the size, and `shown` is its output. `begin(point)` prepares a stroke and returns whether it can start.
   * `line(from, to)` draws a line, `drawn()` is called after several lines, and `end()` is called after a stroke or a key.
   * The coordinates of points are shares of the canvas, 0 to 1.
   */
  constructor({ label, help, slider, shown, begin, line, drawn = () => {}, end, escape = () => {} }) {
    Object.assign(this, { slider, shown, begin, line, drawn, end, escape });
    this.cursor = { x: 0.5, y: 0.5, isDown: false };
    this.view = h('canvas.mask', { tabindex: '0', role: 'application', label, 'aria-describedby': help });
    this.ring = h('div.mask-ring', { 'aria-hidden': 'true' });
    slider.addEventListener('input', () => this.showRing());
    this.view.addEventListener('pointerdown', (event) => this.#stroke(event));
    this.view.addEventListener('pointermove', (event) => this.#place(event));
    this.view.addEventListener('pointerleave', () => this.ring.classList.remove('is-here'));
    this.view.addEventListener('keydown', (event) => this.#keys(event));
  }

  /** Draw a line, in the stroke style of its context, on a canvas that has the size of the view. */
  draw(pen, from, to) {
    const { width, height } = this.view;
    pen.lineWidth = (Number(this.slider.value) / 100) * Math.max(width, height);
    pen.lineCap = 'round';
    pen.beginPath();
    pen.moveTo(from.x * width, from.y * height);
    pen.lineTo(to.x * width + 0.01, to.y * height);
    pen.stroke();
  }

  #place(event) {
    const box = this.view.getBoundingClientRect();
    Object.assign(this.cursor, { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
    this.showRing();
    return { x: this.cursor.x, y: this.cursor.y };
  }

  #stroke(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.view.focus({ preventScroll: true });
    let last = this.#place(event);
    if (!this.begin(last)) return;
    this.view.setPointerCapture(event.pointerId);
    this.line(last, last);
    this.drawn();
    const draw = (moved) => {
      for (const each of moved.getCoalescedEvents?.() ?? [moved]) {
        const next = this.#place(each);
        this.line(last, next);
        last = next;
      }
      this.drawn();
    };
    const over = new AbortController();
    const { signal } = over;
    const stop = () => {
      over.abort();
      this.end();
    };
    this.view.addEventListener('pointermove', draw, { signal });
    for (const name of ['pointerup', 'pointercancel']) this.view.addEventListener(name, stop, { signal });
  }

  /** Keyboard drawing: arrow keys move the brush, Space starts and stops drawing. */
  #keys(event) {
    const { cursor } = this;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === 'Escape') this.escape();
    if (!by && event.key !== ' ' && event.key !== 'Enter') return;
    event.preventDefault();
    const from = { x: cursor.x, y: cursor.y };
    if (by) {
      const far = event.shiftKey ? 0.1 : 0.025;
      cursor.x = Math.min(1, Math.max(0, cursor.x + by[0] * far));
      cursor.y = Math.min(1, Math.max(0, cursor.y + by[1] * far));
    } else {
      if (!cursor.isDown && !this.begin(from)) return;
      cursor.isDown = !cursor.isDown;
      speak(t(cursor.isDown ? 'mask.down' : 'mask.up'), { now: true });
    }
    if (cursor.isDown || !by) {
      this.line(from, cursor);
      this.drawn();
      this.end();
    }
    this.showRing();
  }

  showRing() {
    const { cursor, ring, slider, view } = this;
    const size = Number(slider.value);
    tell(this.shown, `${size} %`);
    slider.style.setProperty('--filled', `${((size - slider.min) / (slider.max - slider.min)) * 100}%`);
    ring.style.setProperty('--x', `${cursor.x * 100}%`);
    ring.style.setProperty('--y', `${cursor.y * 100}%`);
    ring.style.setProperty('--wide', `${size * (Math.max(view.width, view.height) / (view.width || 1))}%`);
    ring.classList.add('is-here');
    ring.classList.toggle('is-down', cursor.isDown);
  }
}
