import { describe, expect, it } from 'vitest';
import { chardevToQapi } from './chardev-qapi.ts';
import { formatJson } from './props.ts';

const data = (props: Record<string, string | number | boolean>) =>
  JSON.parse(formatJson(chardevToQapi({ id: 'c', ...props })));

describe('chardevToQapi', () => {
  it('nests the back end', () => {
    expect(data({ backend: 'pty' })).toEqual({ id: 'c', backend: { type: 'pty', data: {} } });
  });

  it.each([
    [
      { backend: 'file', path: '/o', append: true, logfile: '/l' },
      { out: '/o', append: true, logfile: '/l' },
    ],
    [{ backend: 'serial', path: '/dev/ttyS0' }, { device: '/dev/ttyS0' }],
    [{ backend: 'spicevmc', name: 'usbredir' }, { type: 'usbredir' }],
    [{ backend: 'spiceport', name: 'a.b' }, { fqdn: 'a.b' }],
    [
      { backend: 'socket', fd: 7, server: true, wait: false },
      { addr: { type: 'fd', data: { str: '7' } }, server: true, wait: false },
    ],
    [
      { backend: 'socket', path: '/s' },
      { addr: { type: 'unix', data: { path: '/s' } }, server: false },
    ],
    [
      { backend: 'socket', host: 'h', port: '1', telnet: true, 'reconnect-ms': 5 },
      { addr: { type: 'inet', data: { host: 'h', port: '1' } }, telnet: true, server: false, 'reconnect-ms': 5 },
    ],
    [
      { backend: 'udp', host: 'h', port: '1', localaddr: '', localport: '0' },
      { remote: { type: 'inet', data: { host: 'h', port: '1' } } },
    ],
    [
      { backend: 'udp', host: 'h', port: '1', localaddr: '', localport: '9' },
      {
        remote: { type: 'inet', data: { host: 'h', port: '1' } },
        local: { type: 'inet', data: { host: '', port: '9' } },
      },
    ],
  ])('%j', (props, expected) => {
    expect(data(props).backend).toEqual({ type: props.backend, data: expected });
  });
});
