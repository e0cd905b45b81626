/**
 * Whether the TCP ports that a definition names are free: displays, character devices that listen, forwards. By the kernel's list of
 * sockets; what chooses a port by itself is not asked.
 */
import type { Domain } from '../model/domain/domain.ts';
import { type DoctorHost, type Finding, fail, pass, readText } from './finding.ts';

/** One that the guest is to have. */
interface WantedPort {
  readonly what: string;
  readonly port: number;
  /** As the definition says; undefined: QEMU's default, this host alone. */
  readonly address: string | undefined;
}

/** State LISTEN in /proc/net/tcp. */
const LISTEN = '0A';
const SHOWN_PORTS = 5;

export function checkPorts(host: DoctorHost, domain: Domain): Finding[] {
  const wanted = wantedPorts(domain);
  if (wanted.length === 0) return [];
  const taken = ['tcp', 'tcp6'].flatMap((name) => listeners(readText(`${host.proc}/net/${name}`) ?? ''));
  const findings = wanted.flatMap(({ what, port, address = '127.0.0.1' }): Finding[] => {
    const other = taken.find((one) => one.port === port && overlap(one.address, address));
    if (other === undefined) return [];
    return [
      fail(
        'guest-ports',
        what,
        `port ${port} is taken: something listens on ${other.address}`,
        'QEMU does not start when it cannot have the port that the definition names',
        `ss -ltnp 'sport = :${port}'   # end that program, name another port, or leave the choice: autoport='yes'`,
      ),
    ];
  });
  if (findings.length > 0) return findings;
  const ports = [...new Set(wanted.map(({ port }) => port))];
  const more = ports.length > SHOWN_PORTS ? `, and ${ports.length - SHOWN_PORTS} more` : '';
  return [pass('guest-ports', 'ports', `free: ${ports.slice(0, SHOWN_PORTS).join(', ')}${more}`)];
}

function wantedPorts({ devices }: Domain): WantedPort[] {
  if (devices === undefined) return [];
  const displays = devices.graphics.flatMap(({ type, port, tlsPort, websocket, autoport, listen, listens }) => {
    const [first] = listens;
    if (first !== undefined && first.type !== 'address') return [];
    const address = listen ?? first?.address;
    const named = autoport === true ? [websocket] : [port, tlsPort, websocket];
    return named.flatMap((one) => (isPort(one) ? [{ what: `${type} display`, port: one, address }] : []));
  });
  const characters = [...devices.serials, ...devices.parallels, ...devices.consoles, ...devices.channels].flatMap(
    ({ type, sources }) =>
      type !== 'tcp'
        ? []
        : sources.flatMap(({ mode, host, service }) => {
            const port = Number(service);
            return mode === 'bind' && isPort(port) ? [{ what: 'serial port', port, address: host }] : [];
          }),
  );
  const forwards = devices.interfaces.flatMap(({ portForwards }) =>
    portForwards
      .filter(({ proto }) => proto === 'tcp')
      .flatMap(({ address = '0.0.0.0', ranges }) =>
        ranges
          .filter(({ exclude }) => exclude !== true)
          .flatMap(({ start, end = start }) =>
            Array.from({ length: Math.max(0, end - start) + 1 }, (_, index) => start + index),
          )
          .map((port) => ({ what: 'port forward', port, address })),
      ),
  );
  return [...displays, ...characters, ...forwards];
}

/** -1 and 0 leave the choice to QEMU. */
function isPort(port: number | undefined): port is number {
  return port !== undefined && Number.isInteger(port) && port > 0;
}

/** `  0: 0100007F:176F 00000000:0000 0A …`: addresses are 32-bit words of the host's byte order. */
function listeners(text: string): { address: string; port: number }[] {
  return text.split('\n').flatMap((line) => {
    const [, local = '', , state] = line.trim().split(/\s+/);
    const [address = '', port = ''] = local.split(':');
    if (state !== LISTEN) return [];
    return [{ address: address.length === 8 ? ipv4(address) : ipv6(address), port: Number.parseInt(port, 16) }];
  });
}

function ipv4(hex: string): string {
  return Array.from(Buffer.from(hex, 'hex').reverse()).join('.');
}

/** In full: it is only compared and shown. */
function ipv6(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).map((word) => Buffer.from(word, 'hex').reverse().toString('hex')).join('');
  if (/^0*$/.test(bytes)) return '::';
  if (/^0{31}1$/.test(bytes)) return '::1';
  const mapped = /^0{20}f{4}(.{8})$/.exec(bytes)?.[1];
  if (mapped !== undefined) return Array.from(Buffer.from(mapped, 'hex')).join('.');
  return (bytes.match(/.{4}/g) ?? []).join(':');
}

const ANY = new Set(['0.0.0.0', '::', '']);

/** A listener on all addresses has those of IPv4 too, whichever family it is of. */
function overlap(one: string, other: string): boolean {
  const [a, b] = [one, other === 'localhost' ? '127.0.0.1' : other];
  return ANY.has(a) || ANY.has(b) || a === b;
}
