// Photo intake: drop, paste, file dialog, camera or a recent upload.

import { get, upload, wasAborted } from './api.js';
import { $, button, h, lazyImage, openDialog } from './dom.js';
import { clearAll, clearWhere, notice, registerPlace, showErrorText, showWhere, speak } from './notices.js';
import { addOwn } from './shelf.js';
import { change, facts, on, state } from './state.js';
import { t } from './texts.js';

const RECENT = 4;
const OURS = /^impasto-(mask|doodle|style-map|training)/;
let sending = null;
let camera = null;

export function setUpIntake() {
  registerPlace('content', { place: $('#photo-error'), control: $('#choose-photo') });
  const chooser = $('#photo-file');
  const taker = $('#photo-camera');
  for (const each of document.querySelectorAll('[data-do="choose-photo"]')) each.addEventListener('click', () => chooser.click());
  for (const each of [chooser, taker]) {
    each.addEventListener('change', () => {
      takeFiles([...each.files]);
      each.value = '';
    });
  }
  $('#take-photo').addEventListener('click', () => openCamera(taker));
  $('#change-photo').addEventListener('click', () => change('photo', { photo: null, masks: {}, kept: null }));
  setUpCamera();
  listenForDrops();
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith('image/'));
    if (files.length) takeFiles(files);
  });
  on('photo', () => !state.photo && showRecent());
  showRecent();
}

function takeFiles(files) {
  if (!files.length) return;
  if (files.length > 1) notice('intake.first');
  take(files[0], files[0].name || 'photo');
}

async function take(blob, name) {
  clearAll();
  if (facts.status && blob.size > facts.status.limits.upload_bytes) {
    const megabytes = (count) => (count / 1e6).toFixed(0);
    const vars = { size: megabytes(blob.size), most: megabytes(facts.status.limits.upload_bytes) };
    change('photo', { photo: null, masks: {}, kept: null });
    showErrorText($('#photo-error'), 'error.upload', vars, $('#choose-photo'));
    return;
  }
  sending?.abort();
  sending = new AbortController();
  const local = URL.createObjectURL(blob);
  const progress = $('#sending');
  progress.hidden = false;
  progress.removeAttribute('value');
  change('arriving', {}, { address: local, name });
  try {
    const signal = sending.signal;
    const photo = await upload(blob, name, { signal, onShare: (share) => (progress.value = share) });
    change('photo', { photo, masks: {}, kept: null, painting: null });
    speak(t('intake.here', { name: photo.name }), { now: true });
  } catch (error) {
    if (wasAborted(error)) return;
    change('photo', { photo: null, masks: {}, kept: null });
    showWhere({ ...error, code: error.code, message: error.message, field: 'content' }, 'content');
  } finally {
    progress.hidden = true;
    setTimeout(() => URL.revokeObjectURL(local), 30_000);
  }
}

function listenForDrops() {
  const shelf = $('#shelf');
  let depth = 0;
  const away = () => {
    depth = 0;
    document.body.classList.remove('is-dropping', 'is-dropping-style');
  };
  addEventListener('dragenter', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    depth += 1;
    document.body.classList.add('is-dropping');
  });
  addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    document.body.classList.toggle('is-dropping-style', shelf.contains(event.target));
  });
  addEventListener('dragleave', () => {
    depth -= 1;
    if (depth <= 0) away();
  });
  addEventListener('drop', (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    away();
    if (!files.length) return;
    event.preventDefault();
    const isClip = files[0].type.startsWith('video/');
    if (shelf.contains(event.target) && !isClip) addOwn(files);
    else if (isClip || location.hash === '#/video') handOver(files[0]);
    else takeFiles(files);
  });
}

/** Open the video page with a clip. */
function handOver(clipFile) {
  change('clip', { clipFile });
  location.hash = '#/video';
}

async function showRecent() {
  const strip = $('#recent');
  const { items } = await get('/uploads?limit=50').catch(() => ({ items: [] }));
  const isFirst = ({ sha256 }, index) => items.findIndex((each) => each.sha256 === sha256) === index;
  const photos = items.filter((each, index) => !OURS.test(each.name) && isFirst(each, index)).slice(0, RECENT);
  $('#recent-part').hidden = !photos.length;
  strip.replaceChildren(...photos.map(recent));
}

function recent(photo) {
  const again = () => {
    clearWhere('content');
    change('photo', { photo, masks: {}, kept: null, painting: null });
  };
  const press = h('button.recent', { type: 'button', label: 'intake.again', with: { name: photo.name }, on: { click: again } });
  press.append(lazyImage(photo.thumb));
  return h('li', {}, press);
}

// ------------------------------------------------------------------------------------------------ the camera

/** Open the camera app on phones, and a camera dialog elsewhere if the browser allows it. */
function openCamera(taker) {
  const isPhone = matchMedia('(pointer: coarse)').matches;
  if (isPhone || !navigator.mediaDevices?.getUserMedia) taker.click();
  else lookThroughCamera();
}

async function lookThroughCamera() {
  clearWhere('content');
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: 'user' }, audio: false });
  } catch {
    showErrorText($('#photo-error'), 'error.camera', {}, $('#take-photo'));
    return;
  }
  $('#viewfinder').srcObject = camera;
  openDialog($('#camera'));
  await $('#viewfinder').play();
}

function setUpCamera() {
  const dialog = $('#camera');
  dialog.addEventListener('close', () => {
    camera?.getTracks().forEach((track) => track.stop());
    camera = null;
    $('#viewfinder').srcObject = null;
  });
  $('#shoot').addEventListener('click', () => {
    const video = $('#viewfinder');
    if (!video.videoWidth) return;
    const canvas = h('canvas', { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext('2d').drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      if (blob) take(blob, 'camera.jpg');
    }, 'image/jpeg', 0.95);
  });
}
