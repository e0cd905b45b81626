import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseDaemonSettings } from './settings.ts';

const DEBIAN = '/etc/libvirt/libvirtd.conf';
if (!existsSync(DEBIAN)) process.stderr.write(`SKIPPED: there is no ${DEBIAN}\n`);

const read = (text: string) => parseDaemonSettings(text, 'daemon.conf');

describe('daemon.conf', () => {
  it('is read as libvirtd reads its own: numbers, texts, lists, and modes in octal', () => {
    const { settings, notes } = read(`
# a comment
listen_tls = 0
tls_port = "16600"
unix_sock_group = "libvirt"   # who may
unix_sock_rw_perms = "0770"
auth_unix_rw = "none"
tls_allowed_dn_list = [
  "C=GB,CN=one",
  "*CN=two",
]
max_clients = 7
keepalive_interval = 0
`);
    expect(notes).toEqual([]);
    expect(settings).toEqual({
      listenTls: false,
      tlsPort: 16_600,
      unixSockGroup: 'libvirt',
      unixSockRwPerms: 0o770,
      authUnixRw: 'none',
      tlsAllowedDnList: ['C=GB,CN=one', '*CN=two'],
      maxClients: 7,
      keepaliveInterval: 0,
    });
  });

  it('says which line is wrong, and what would be right', () => {
    expect(() => read('max_clients = "many"')).toThrow(
      /^daemon.conf:1: max_clients is a number from 0 on, not "many"$/,
    );
    expect(() => read('\nauth_tls = "polkit"')).toThrow(
      /^daemon.conf:2: auth_tls is none or sasl: polkit is not supported/,
    );
    expect(() => read('tcp_port = "70000"')).toThrow(/a port, 0 to 65535/);
    expect(() => read('unix_sock_ro_perms = "rw"')).toThrow(/a mode like "0770"/);
    expect(() => read('listen_tls = 2')).toThrow(/0 or 1/);
  });

  it('tells of keys that mean nothing here, with the reason or the nearest one', () => {
    expect(read('max_workers = 5\nmax_client = 3\nquite_unlike = 1').notes).toEqual([
      'daemon.conf:1: max_workers has no effect: there are no worker threads',
      'daemon.conf:2: the key max_client is unknown; did you mean max_clients?',
      'daemon.conf:3: the key quite_unlike is unknown',
    ]);
  });

  it.skipIf(!existsSync(DEBIAN))("knows every key of Debian's libvirtd.conf", () => {
    const text = readFileSync(DEBIAN, 'utf8');
    const lines = text.split('\n').flatMap((line) => /^#?([a-z_]+ = (?:\d+|"[^"]*"))$/.exec(line)?.[1] ?? []);
    const keys = lines.filter((line) => !line.includes('polkit')).join('\n');
    expect(lines.length).toBeGreaterThan(40);
    expect(read(keys).notes.filter((note) => note.includes('unknown'))).toEqual([]);
  });
});
