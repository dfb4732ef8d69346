// Times in the zone of whoever looks, with UTC at hand; and choosing all rows at once. Every view works without this.

import { localise } from './time.js';

document.querySelectorAll('time[datetime]').forEach(localise);

const all = document.querySelector('[data-all]');
all?.addEventListener('change', () => {
  document.querySelectorAll('input[name=subjects]').forEach((box) => { box.checked = all.checked; });
});

// What was done is said once: it does not come back when the page is loaded again.
const here = new URL(location.href);
if (here.searchParams.has('done')) {
  here.searchParams.delete('done');
  history.replaceState(null, '', here);
}
