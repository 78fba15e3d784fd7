// What the webcam page paints: the frames of a camera, or one photo.

/** The frame rate and the size are wishes; the camera chooses the nearest ones. */
const WANTED = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 60 } };
/** The network pads other sides; whole strokes at the border need none. */
const MULTIPLE = 4;

const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
const grabbed = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
let photo = null;

export const hasPicture = () => Boolean(photo) || video.videoWidth > 0;
export const isPhoto = () => Boolean(photo);
/** Whether the browser tells when the camera has a new frame. */
export const tellsFrames = 'requestVideoFrameCallback' in video;

/** Open a camera. `onFrame` is called for each of its frames. */
export async function openCamera(camera, onFrame) {
  closeCamera();
  const which = camera ? { deviceId: { exact: camera } } : { facingMode: 'user' };
  const stream = await navigator.mediaDevices.getUserMedia({ video: { ...WANTED, ...which }, audio: false });
  video.srcObject = stream;
  await video.play();
  photo = null;
  const next = () => {
    if (video.srcObject !== stream) return;
    onFrame();
    video.requestVideoFrameCallback(next);
  };
  if (tellsFrames) video.requestVideoFrameCallback(next);
}

export function closeCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/** Return the cameras, and which of them is open. */
export async function cameras() {
  const all = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === 'videoinput');
  return { all, current: video.srcObject?.getVideoTracks()[0]?.getSettings().deviceId };
}

/** Read a photo from a file. It replaces the camera. Throws if the file is not a picture that the browser can read. */
export async function openPhoto(file) {
  const read = await createImageBitmap(file);
  closeCamera();
  photo?.close();
  photo = read;
}

/** Return the picture to paint: the center square of the camera frame, or the whole photo. Its longer side is `size`. */
export function grab(size, mirror) {
  const { picture, left, top, wide, high } = part();
  const side = (length) => Math.max(MULTIPLE, MULTIPLE * Math.round((size * length) / Math.max(wide, high) / MULTIPLE));
  const [width, height] = [side(wide), side(high)];
  const { canvas } = grabbed;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  grabbed.setTransform(mirror ? -1 : 1, 0, 0, 1, mirror ? width : 0, 0);
  grabbed.imageSmoothingQuality = photo ? 'high' : 'low';
  grabbed.drawImage(picture, left, top, wide, high, 0, 0, width, height);
  return grabbed.getImageData(0, 0, width, height);
}

function part() {
  if (photo) return { picture: photo, left: 0, top: 0, wide: photo.width, high: photo.height };
  const side = Math.min(video.videoWidth, video.videoHeight);
  return { picture: video, left: (video.videoWidth - side) / 2, top: (video.videoHeight - side) / 2, wide: side, high: side };
}
