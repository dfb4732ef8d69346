// The live list: events as they come, by server-sent events. What comes is text, and is put into the page as text.

import { localise } from './time.js';

const MOST_ROWS = 200;
const RANKS = ['low', 'medium', 'high', 'critical'];
const list = document.getElementById('live');
const state = document.getElementById('live-state');
const said = document.getElementById('live-said');
const pause = document.getElementById('live-pause');
const severity = document.getElementById('live-severity');
let source = null;
let waiting = [];
// The event that was seen last: what comes after it is asked for, so that nothing is missing between page and stream.
let last = list.querySelector('[data-id]')?.dataset.id ?? '';

const words = (name) => {
  const text = name.toLowerCase().replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
};

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function anchor(href, className, text) {
  const made = element('a', className, text);
  made.href = href;
  return made;
}

const place = (at) => [at?.city, at?.country].filter(Boolean).join(', ');
const why = (event) => {
  const evidence = event.evidence ?? {};
  return evidence.summary ?? evidence.cause?.evidence?.summary ?? evidence.note ?? evidence.reason ?? '';
};

function row(event) {
  const made = element('tr', `sev-${event.severity} new`);
  made.dataset.id = event.id;
  const time = element('time');
  time.dateTime = event.time;
  localise(time);
  const when = element('td', 'when');
  when.append(time);
  const sev = element('td', 'sev');
  sev.append(element('span', `badge ${event.severity}`, event.severity));
  const what = element('td', 'what');
  const open = anchor(`/ui/events/${encodeURIComponent(event.id)}`, '', words(event.type));
  open.dataset.open = '';
  what.append(open);
  const whom = element('td', 'whom');
  if (event.subject) whom.append(anchor(`/ui/subjects/${encodeURIComponent(event.subject)}`, 'id', event.subject));
  const because = element('td', 'why', why(event));
  if (event.place) because.append(' ', element('span', 'faint', place(event.place)));
  made.append(when, sev, what, whom, because);
  return made;
}

function show(event) {
  if (list.querySelector(`[data-id="${CSS.escape(event.id)}"]`)) return;
  list.prepend(row(event));
  while (list.rows.length > MOST_ROWS) list.deleteRow(-1);
  document.getElementById('live-empty')?.remove();
  if (RANKS.indexOf(event.severity) >= RANKS.indexOf('high')) {
    said.textContent = `${event.severity}: ${words(event.type)} ${event.subject ?? ''}`;
  }
}

const isPaused = () => pause.getAttribute('aria-pressed') === 'true';

function note() {
  state.textContent = isPaused() ? `paused, ${waiting.length} new` : source?.readyState === 1 ? 'live' : 'connecting';
}

function follow() {
  source?.close();
  const after = last ? `&last_event_id=${encodeURIComponent(last)}` : '';
  source = new EventSource(`/ui/events/stream?severity=${severity.value}${after}`);
  source.onopen = note;
  source.onerror = () => {
    // It is refused where the last event is no longer in the log: then what comes from now on is shown.
    if (source.readyState === EventSource.CLOSED && last) {
      last = '';
      follow();
    }
    note();
  };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    last = message.lastEventId || last;
    if (isPaused()) {
      waiting = [...waiting, event].slice(-MOST_ROWS);
    } else {
      show(event);
    }
    note();
  };
  note();
}

pause.addEventListener('click', () => {
  pause.setAttribute('aria-pressed', String(!isPaused()));
  pause.textContent = isPaused() ? 'Go on' : 'Pause';
  if (!isPaused()) {
    waiting.forEach(show);
    waiting = [];
  }
  note();
});
severity.addEventListener('change', follow);
window.addEventListener('pagehide', () => source?.close());
document.getElementById('live-controls').hidden = false;
follow();
