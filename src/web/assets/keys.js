// The keyboard: j and k go through rows, Enter opens one, b, l and v open what can be done, / finds, ? helps.

const rows = () => [...document.querySelectorAll('[data-rows] tbody tr')];

function step(by) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.findIndex((row) => row.classList.contains('chosen'));
  const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
  all[at]?.classList.remove('chosen');
  next.classList.add('chosen');
  next.scrollIntoView({ block: 'nearest' });
  link(next)?.focus({ preventScroll: true });
}

const link = (row) => row.querySelector('[data-open]') ?? row.querySelector('a');

function act(key) {
  const details = document.querySelector(`details[data-key="${key}"]`);
  if (!details) return false;
  details.open = true;
  details.querySelector('input:not([type=hidden])')?.focus();
  return true;
}

const DOES = {
  j: () => step(1),
  k: () => step(-1),
  '/': () => document.getElementById('find')?.focus(),
  '?': () => document.getElementById('keys')?.showModal(),
};

document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest('input, select, textarea, dialog') !== null;
  if (event.key === 'Escape' && isTyping) event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const does = DOES[event.key];
  if (does) {
    does();
  } else if (!['b', 'l', 'v'].includes(event.key) || !act(event.key)) {
    return;
  }
  event.preventDefault();
});
