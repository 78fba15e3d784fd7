// Client of the public API; see docs/studio-api.md.

const ROOT = '/api/v1';

/** An error response of the studio. `field` names the control that caused it. */
export class ApiError extends Error {
  constructor({ code, message, field }, status = 0, retry = null) {
    super(message);
    Object.assign(this, { code, field: field ?? null, status, retry });
  }
}

export const wasAborted = (error) => error?.name === 'AbortError';

/** Replace lone surrogates, because they cannot be encoded. An input with a maximum length may leave them. */
const whole = (key, value) => (typeof value === 'string' ? value.replaceAll(/[\ud800-\udfff]/gu, '\ufffd') : value);

export async function call(method, path, { body, signal, headers = {} } = {}) {
  const json = body === undefined ? {} : { body: JSON.stringify(body, whole), headers: { 'content-type': 'application/json', ...headers } };
  let answer;
  try {
    answer = await fetch(ROOT + path, { method, signal, headers, ...json });
  } catch (error) {
    throw wasAborted(error) ? error : unreachable();
  }
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, how) => call('GET', path, how);
export const post = (path, body = {}, how = {}) => call('POST', path, { body, ...how });
export const patch = (path, body) => call('PATCH', path, { body });
export const remove = (path, how) => call('DELETE', path, how);

/** Submit a job. A retry with the same key returns the same job. */
export function order(body, { signal, key = newKey() } = {}) {
  return post('/jobs', body, { signal, headers: { 'idempotency-key': key } });
}

/** Upload a picture, or a clip `to` its route. `onShare` receives the share of the file that has been sent, 0 to 1. */
export function upload(blob, name, { to = '/uploads', onShare, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    // Cut by characters, not by UTF-16 units, and replace lone surrogates, because they cannot be encoded.
    request.open('POST', `${ROOT}${to}?name=${encodeURIComponent([...name].slice(0, 120).join('').replaceAll(/[\ud800-\udfff]/gu, '\ufffd'))}`);
    request.setRequestHeader('content-type', 'application/octet-stream');
    request.upload.onprogress = (event) => event.lengthComputable && onShare?.(event.loaded / event.total);
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException('', 'AbortError'));
    request.onload = () => {
      const answer = parsed(request.responseText);
      if (request.status === 201 && answer) resolve(answer);
      else reject(new ApiError(answer?.error ?? unknown(request.status), request.status));
    };
    signal?.addEventListener('abort', () => request.abort());
    request.send(blob);
  });
}

/** Fetch a file. */
export async function fetched(path) {
  const answer = await fetch(ROOT + path).catch(() => null);
  if (!answer) throw unreachable();
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** Fetch a file and save it as a browser download. */
export async function download(path) {
  const answer = await fetched(path);
  const address = URL.createObjectURL(await answer.blob());
  press(address, fileName(answer.headers.get('content-disposition') ?? ''));
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Save a large file as a browser download without holding it in memory. The studio gives its name. */
export const save = (path) => press(ROOT + path, '');

function press(address, name) {
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}

export const eventsAddress = `${ROOT}/events`;
export const resultImage = (id) => `${ROOT}/results/${id}/image`;

function fileName(disposition) {
  const coded = /filename\*=utf-8''([^;]+)/i.exec(disposition);
  if (coded) return decodeURIComponent(coded[1]);
  return /filename="([^"]+)"/.exec(disposition)?.[1] ?? 'impasto';
}

async function refusal(answer) {
  const told = parsed(await answer.text());
  return new ApiError(told?.error ?? unknown(answer.status), answer.status, answer.headers.get('retry-after'));
}

const unreachable = () => new ApiError({ code: 'network', message: '' });
const unknown = (status) => ({ code: 'bug', message: '', field: null, status });

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// crypto.randomUUID needs https or localhost, so it does not work on a phone on the same network.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
