// Current state of all jobs, from one event stream that reconnects automatically.

import { eventsAddress, get, post } from './api.js';

const POLL_MS = 4000;
const AGAIN_MS = 3000;
const ENDED = ['done', 'failed', 'cancelled', 'paused'];

export const jobs = new Map();
const listeners = { job: new Set(), gone: new Set(), line: new Set() };
const QUEUE_MS = { moved: 500, nearer: 5000 };
let stream = null;
let last = '';
let asking = null;
let askAt = Infinity;

export const on = (what, listener) => {
  listeners[what].add(listener);
  return () => listeners[what].delete(listener);
};
export const hasEnded = (job) => ENDED.includes(job.state);

/** Store the state of a job, unless a newer one is known. */
export function take(job) {
  const known = jobs.get(job.id);
  if (known && known.version > job.version) return known;
  jobs.set(job.id, job);
  if (known && known.state !== job.state) refreshQueue(QUEUE_MS.moved);
  else if (job.state === 'running') refreshQueue(QUEUE_MS.nearer);
  for (const listener of listeners.job) listener(job);
  return job;
}

/** Refresh the waiting jobs. Their positions change without events while other jobs progress. */
function refreshQueue(pause) {
  const at = Date.now() + pause;
  if (askAt <= at || ![...jobs.values()].some((job) => job.state === 'queued')) return;
  clearTimeout(asking);
  askAt = at;
  asking = setTimeout(async () => {
    askAt = Infinity;
    const { items } = await get('/jobs?state=queued&limit=100').catch(() => ({ items: [] }));
    items.forEach(take);
  }, pause);
}

export function connect() {
  stream = new EventSource(last ? `${eventsAddress}?last=${last}` : eventsAddress);
  stream.addEventListener('open', async () => {
    tellAll('line', true);
    const { items } = await get('/jobs?limit=100').catch(() => ({ items: [] }));
    for (const job of items.reverse()) take(job);
  });
  stream.addEventListener('job', (event) => {
    last = event.lastEventId || last;
    take(JSON.parse(event.data));
  });
  stream.addEventListener('gone', (event) => {
    const gone = JSON.parse(event.data);
    if (gone.kind === 'job') jobs.delete(gone.id);
    refreshQueue(QUEUE_MS.moved);
    tellAll('gone', gone);
  });
  stream.addEventListener('error', () => {
    tellAll('line', false);
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(connect, AGAIN_MS);
  });
}

/** Stop a job: cancel, pause or finish. */
export const stop = (id, how) => post(`/jobs/${id}/${how}`).then(take);

function tellAll(what, value) {
  for (const listener of listeners[what]) listener(value);
}

/** Wait until a job has ended. Also poll the job, in case the event stream fails. */
export function ended(first, { signal } = {}) {
  return new Promise((resolve, reject) => {
    const finish = (act, value) => {
      stop();
      clearInterval(timer);
      act(value);
    };
    const look = (job) => job.id === first.id && hasEnded(job) && finish(resolve, job);
    const stop = on('job', look);
    const timer = setInterval(() => get(`/jobs/${first.id}`).then(take, (error) => finish(reject, error)), POLL_MS);
    signal?.addEventListener('abort', () => finish(reject, new DOMException('', 'AbortError')));
    look(take(first));
  });
}
