/** Addresses and networks, and who asks behind proxies. */

/** The bytes of an address: 4 or 16. */
function bytesOf(text: string): number[] | undefined {
  const plain = text.trim().replace(/^"|"$/g, '');
  const inner = /^\[([^\]]+)\](?::\d+)?$/.exec(plain)?.[1] ?? /^([\d.]+):\d+$/.exec(plain)?.[1] ?? plain;
  const address = inner.split('%')[0] ?? '';
  return address.includes(':') ? six(address) : four(address);
}

function four(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
    return undefined;
  return parts.map(Number);
}

function six(text: string): number[] | undefined {
  const tail = /^(.*:)([\d.]+\.[\d.]+)$/.exec(text);
  const last = tail ? four(tail[2] as string) : undefined;
  if (tail && !last) return undefined;
  const hex = (pair: number[]) => ((pair[0] ?? 0) * 256 + (pair[1] ?? 0)).toString(16);
  const whole = tail && last ? `${tail[1]}${hex(last.slice(0, 2))}:${hex(last.slice(2))}` : text;
  const halves = whole.split('::');
  if (halves.length > 2) return undefined;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
  if (!groups.flat().every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const missing = 8 - groups.flat().length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [
    ...(groups[0] ?? []),
    ...Array<string>(halves.length === 2 ? missing : 0).fill('0'),
    ...(groups[1] ?? []),
  ];
  const bytes = all.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]);
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return mapped ? bytes.slice(12) : bytes;
}

function write(bytes: number[]): string {
  if (bytes.length === 4) return bytes.join('.');
  return Array.from({ length: 8 }, (_, at) =>
    ((bytes[2 * at] ?? 0) * 256 + (bytes[2 * at + 1] ?? 0)).toString(16),
  ).join(':');
}

interface Network {
  bytes: number[];
  bits: number;
}

function network(text: string): Network {
  const [address, bits] = text.split('/') as [string, string | undefined];
  const bytes = bytesOf(address);
  const length = bits === undefined ? (bytes?.length ?? 0) * 8 : Number(bits);
  if (!bytes || !Number.isInteger(length) || length < 0 || length > bytes.length * 8) {
    throw new TypeError(`trustedProxies: ${text} is no address and no network such as 10.0.0.0/8`);
  }
  return { bytes, bits: length };
}

function holds(net: Network, address: number[]): boolean {
  if (net.bytes.length !== address.length) return false;
  return net.bytes.every((byte, at) => {
    const bits = Math.max(0, Math.min(8, net.bits - 8 * at));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((address[at] ?? 0) & mask);
  });
}

/**
 * The parts of a text between separators that stand in no quoted string. They are looked for from the right: what a
 * client sent stands left, and may end within quotes.
 */
function outsideQuotes(text: string, separator: string): string[] {
  const parts: string[] = [];
  let [end, quoted] = [text.length, false];
  for (let at = text.length - 1; at >= 0; at -= 1) {
    if (text[at] === '"' && !isEscaped(text, at)) quoted = !quoted;
    else if (text[at] === separator && !quoted) {
      parts.unshift(text.slice(at + 1, end));
      end = at;
    }
  }
  return [text.slice(0, end), ...parts];
}

function isEscaped(text: string, at: number): boolean {
  let start = at;
  while (text[start - 1] === '\\') start -= 1;
  return (at - start) % 2 === 1;
}

/** The header in which your own proxies say who asks. */
export type ClientHeader = 'x-forwarded-for' | 'forwarded' | 'x-real-ip';

/**
 * Who asks: the header is read from the right, past each proxy that is trusted, no further. `peer` is the other end of
 * the connection; a unix socket has none: 127.0.0.1.
 */
export function clients(trusted: readonly string[], header: ClientHeader) {
  const networks = trusted.map(network);
  const trusts = (address: number[]) => networks.some((net) => holds(net, address));
  const named = (entry: string) => {
    if (header !== 'forwarded') return entry;
    const pairs = outsideQuotes(entry, ';').map((pair) => pair.trim());
    return pairs.find((pair) => /^for=/i.test(pair))?.slice(4) ?? '';
  };
  const entries = (line: string) => (header === 'forwarded' ? outsideQuotes(line, ',') : line.split(','));
  return (peer: string | undefined, lines: readonly string[]): string => {
    let client = bytesOf(peer ?? '') ?? [127, 0, 0, 1];
    for (const entry of lines.flatMap(entries).reverse()) {
      if (entry.trim() === '') continue;
      const before = bytesOf(named(entry));
      if (!trusts(client) || !before) break;
      client = before;
    }
    return write(client);
  };
}
