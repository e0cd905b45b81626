import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../core/errors.ts';
import { parseUri } from './uri.ts';

describe('parseUri', () => {
  it('reads embedded URIs', () => {
    expect(parseUri('qemu:///embed')).toEqual({ kind: 'embed', driver: 'qemu' });
    expect(parseUri('qemu:///embed?root=/var/tmp/a%20b')).toMatchObject({ root: '/var/tmp/a b' });
  });

  it('reads URIs of the test driver', () => {
    expect(parseUri('test:///default')).toEqual({ kind: 'test' });
    expect(parseUri('test:///etc/hosts.xml')).toEqual({ kind: 'test', file: '/etc/hosts.xml' });
    expect(parseUri('test+unix:///default')).toMatchObject({ kind: 'remote', serverUri: 'test:///default' });
  });

  it.each([
    ['qemu:///system', { transport: 'unix', path: '/system', serverUri: 'qemu:///system' }],
    ['lxc:///system', { transport: 'unix', driver: 'lxc' }],
    ['qemu://host/session', { transport: 'tls', host: 'host', serverUri: 'qemu:///session' }],
    [
      'qemu+ssh://me@farm.example:2222/system?keyfile=/k&no_tty=1&socket=/s%20s',
      {
        transport: 'ssh',
        user: 'me',
        host: 'farm.example',
        port: 2222,
        parameters: { keyfile: '/k', noTty: true, socket: '/s s' },
      },
    ],
    ['qemu+libssh2://h/system?known_hosts=/k&sshauth=agent,privkey', { parameters: { sshauth: ['agent', 'privkey'] } }],
    ['qemu+tcp://[::1]:16509/system', { transport: 'tcp', host: '::1', port: 16509 }],
    ['qemu+tls://h/system?no_verify=1&pkipath=/p', { parameters: { noVerify: true, pkipath: '/p' } }],
    ['qemu+unix:///system?socket=/x.sock&mode=legacy', { parameters: { socket: '/x.sock', mode: 'legacy' } }],
    ['qemu+ext:///system?command=/bin/tunnel', { transport: 'ext', parameters: { command: '/bin/tunnel' } }],
    ['qemu+tcp://h/system?name=qemu:///session', { serverUri: 'qemu:///session' }],
    ['qemu+tcp://h/system?colour=red&authfile=/a', { serverUri: 'qemu:///system?colour=red' }],
    ['xen+unix:///system', { driver: 'xen' }],
  ])('reads %s', (uri, expected) => {
    expect(parseUri(uri)).toMatchObject({ kind: 'remote', ...expected });
  });

  it('resolves aliases, but only of names', () => {
    const aliases = { farm: 'qemu+ssh://root@farm.example/system' };
    expect(parseUri('farm', { aliases })).toMatchObject({ transport: 'ssh', host: 'farm.example' });
    expect(() => parseUri('barn', { aliases })).toThrow(/no connection URI/);
  });

  it('takes defaults from the settings', () => {
    expect(parseUri('qemu:///system', { mode: 'legacy' })).toMatchObject({ parameters: { mode: 'legacy' } });
    expect(parseUri('qemu:///system?mode=direct', { mode: 'legacy' })).toMatchObject({
      parameters: { mode: 'direct' },
    });
  });

  it.each([
    ['qemu:///embed?root=relative', /absolute path/],
    ['qemu:///embed?rot=/x', /'rot' is unknown/],
    ['xen:///embed', /has no embedded guests/],
    ['esx:///system', /no driver 'esx'/],
    ['nonsense', /no connection URI/],
    ['', /no connection URI/],
    ['qemu+warp://h/system', /no transport 'warp'/],
    ['qemu+tls:///system', /needs a host/],
    ['qemu+unix://h/system', /leave out 'h'/],
    ['qemu+ssh://h/embed', /in this process/],
    ['qemu+ext:///system', /needs command/],
    ['qemu+tcp://h:0/system', /no connection URI/],
    ['qemu:///system?mode=fast', /mode is one of/],
    ['qemu+tls://h/system?no_verify=yes', /no_verify is 0 or 1/],
    ['qemu+ssh://h/system?proxy=native&netcat=nc', /means nothing/],
  ])('refuses %s', (uri, message) => {
    expect(() => parseUri(uri)).toThrow(message);
  });

  it('answers any text with a URI or a VirtError', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl(),
          fc.string().map((tail) => `qemu:///embed?${tail}`),
          fc.string().map((tail) => `qemu+ssh://${tail}`),
        ),
        (text) => {
          try {
            parseUri(text);
          } catch (error) {
            expect(error).toBeInstanceOf(VirtError);
          }
        },
      ),
    );
  });
});
