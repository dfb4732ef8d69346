// Times in the zone of whoever looks.

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const day = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });
const year = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });

/** Shows a time element in the zone of the browser: the time alone today, else with its day. */
export function localise(element) {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const now = new Date();
  element.title = `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
  const isToday = at.toDateString() === now.toDateString();
  const date = at.getFullYear() === now.getFullYear() ? day : year;
  element.textContent = isToday ? clock.format(at) : `${date.format(at)}, ${clock.format(at)}`;
}
