// Saving from the webcam page: the picture on screen, or a video of it. Both go to the downloads of the browser.

import { h } from './dom.js';

/** Browsers record different formats; the first one that the browser knows is used. */
const FORMATS = ['video/webm;codecs=vp9', 'video/webm', 'video/mp4'];
const BITS_PER_SECOND = 8_000_000;
let recorder = null;

export const canRecord = (canvas) => Boolean(globalThis.MediaRecorder && canvas.captureStream && format());
export const isRecording = () => recorder !== null;

export function savePicture(canvas) {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(save(blob, 'png')), 'image/png');
  });
}

/** Record the canvas until `stopRecording`; then call `onSaved`. */
export function record(canvas, onSaved) {
  const parts = [];
  const mimeType = format();
  recorder = new MediaRecorder(canvas.captureStream(), { mimeType, videoBitsPerSecond: BITS_PER_SECOND });
  recorder.addEventListener('dataavailable', ({ data }) => parts.push(data));
  recorder.addEventListener('stop', () => {
    recorder = null;
    save(new Blob(parts, { type: mimeType }), mimeType.includes('mp4') ? 'mp4' : 'webm');
    onSaved();
  });
  recorder.start();
}

export function stopRecording() {
  if (recorder?.state === 'recording') recorder.stop();
}

function format() {
  return FORMATS.find((each) => MediaRecorder.isTypeSupported(each));
}

function save(blob, suffix) {
  const address = URL.createObjectURL(blob);
  const when = new Date().toISOString().slice(0, 19).replaceAll(/[:T]/g, '-');
  const link = h('a', { href: address, download: `impasto-live-${when}.${suffix}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
