import { describe, expect, it } from 'vitest';
import { type BenchOptions, benchCapabilities, benchDevices } from '../testing/device-bench.ts';
import { FAMILY as channel } from './channel/index.ts';
import { reconnectProps, unixChardev } from './chardev.ts';
import { FAMILY as serial } from './serial/index.ts';

const port = (xml: string, options: Partial<BenchOptions> = {}) =>
  benchDevices(`<serial ${xml}</serial>`, { families: [serial], types: ['isa-serial'], ...options });
const chardevOf = (xml: string, options: Partial<BenchOptions> = {}) =>
  port(xml, options).args.find((arg) => arg.startsWith('-chardev'));

describe('planChardev', () => {
  it.each([
    ["type='null'>", 'null,id=charserial0'],
    ["type='vc'>", 'vc,id=charserial0'],
    ["type='pty'>", 'pty,id=charserial0'],
    ["type='stdio'>", 'stdio,id=charserial0'],
    ["type='dev'><source path='/dev/ttyS1'/>", 'serial,id=charserial0,path=/dev/ttyS1'],
    ["type='pipe'><source path='/tmp/p'/>", 'pipe,id=charserial0,path=/tmp/p'],
    ["type='file'><source path='/tmp/out'/>", 'file,id=charserial0,path=/dev/fdset/0,append=on'],
    [
      "type='tcp'><source mode='bind' host='::1' service='99'/><protocol type='telnet'/>",
      'socket,id=charserial0,host=::1,port=99,telnet=on,server=on,wait=off',
    ],
    [
      "type='tcp'><source host='h' service='99'><reconnect enabled='yes' timeout='3'/></source>",
      'socket,id=charserial0,host=h,port=99,reconnect-ms=3000',
    ],
    ["type='unix'><source mode='connect' path='/s'/>", 'socket,id=charserial0,path=/s'],
    ["type='unix'><source mode='bind' path='/s'/>", 'socket,id=charserial0,fd=3,server=on,wait=off'],
    ["type='udp'><source mode='connect' service='7'/>", 'udp,id=charserial0,host=,port=7,localaddr=,localport=0'],
    [
      "type='udp'><source mode='bind' host='a' service='1'/><source mode='connect' host='b' service='2'/>",
      'udp,id=charserial0,host=b,port=2,localaddr=a,localport=1',
    ],
    ["type='dbus'><source channel='org.x.0'/>", 'dbus,id=charserial0,name=org.x.0'],
    [
      "type='qemu-vdagent'><source><clipboard copypaste='yes'/><mouse mode='client'/></source>",
      'qemu-vdagent,id=charserial0,name=vdagent,clipboard=on,mouse=on',
    ],
  ])('%s', (xml, expected) => {
    const { faults } = port(xml);
    expect(faults).toEqual([]);
    expect(chardevOf(xml)).toBe(`-chardev ${expected}`);
  });

  it('opens files for QEMU, truncated unless they are appended to', () => {
    const { context, args } = port("type='file'><source path='/out' append='on'/><log file='/log' append='off'/>");
    expect(context.fds).toEqual([
      { kind: 'file', path: '/out', flags: 'a' },
      { kind: 'file', path: '/log', flags: 'w' },
    ]);
    expect(args.slice(0, 3)).toEqual([
      '-add-fd set=0,fd=3,opaque=serial0-source',
      '-add-fd set=1,fd=4,opaque=serial0-log',
      '-chardev file,id=charserial0,path=/dev/fdset/0,append=on,logfile=/dev/fdset/1,logappend=on',
    ]);
  });

  it.each([
    ["type='dev'><source path='/x,server=on'/>", 'path=/x,,server=on'],
    ["type='pipe'><source path='a,b'/>", 'path=a,,b'],
    ["type='unix'><source mode='connect' path='/s,server=on'/>", 'path=/s,,server=on'],
    ["type='tcp'><source host='h,ipv4=on' service='1,to=9'/>", 'host=h,,ipv4=on,port=1,,to=9'],
    ["type='udp'><source mode='bind' host='a,b' service='c,d'/>", 'localaddr=a,,b,localport=c,,d'],
    ["type='udp'><source mode='connect' host='e,f' service='g,h'/>", 'host=e,,f,port=g,,h'],
    ["type='dbus'><source channel='x,y'/>", 'name=x,,y'],
  ])('doubles the commas in <serial %s', (xml, expected) => {
    expect(chardevOf(xml)).toContain(expected);
  });

  it('makes TLS credentials per device, with the secret of their key', () => {
    const config = { chardevTls: true, chardevTlsX509CertDir: '/pki', chardevTlsX509SecretUuid: '0-1' };
    const { parts, args } = port("type='tcp'><source mode='bind' host='h' service='1'/>", { config });
    expect(parts[1]).toEqual({
      kind: 'object',
      props: {
        'qom-type': 'tls-creds-x509',
        id: 'objcharserial0_tls0',
        dir: '/pki',
        endpoint: 'server',
        'verify-peer': false,
        priority: undefined,
        passwordid: 'charserial0-secret0',
      },
    });
    expect(args[2]).toMatch(/wait=off,tls-creds=objcharserial0_tls0$/);
    const plain = port("type='tcp'><source mode='bind' host='h' service='1' tls='no'/>", { config });
    expect(plain.args[0]).not.toContain('tls');
  });

  it('gives the embedding program one end and a copy of the output, whatever the source says', () => {
    const { args, context } = port("type='pty'>", {
      prepare: (context) => {
        context.chardevOverrides = new Map([['serial0', { kind: 'socketpair' }]]);
        context.serialLog = { alias: 'serial0', path: '/log', append: true };
      },
    });
    expect(args.slice(0, 2)).toEqual([
      '-add-fd set=0,fd=4,opaque=serial0-log',
      '-chardev socket,id=charserial0,fd=3,logfile=/dev/fdset/0,logappend=on',
    ]);
    expect(context.fds).toEqual([
      { kind: 'socketpair', name: 'serial0' },
      { kind: 'file', path: '/log', flags: 'a' },
    ]);
  });
});

describe('validateChardev', () => {
  it.each([
    ["type='file'>", 'needs <source path=…>'],
    ["type='tcp'><source host='h'/>", 'needs <source service=…>'],
    ["type='udp'><source mode='bind' service='1'/>", 'needs <source service=…>'],
    ["type='spiceport'><source channel='a b'/>", "channel 'a b' may have"],
    ["type='nmdm'><source master='/a' slave='/b'/>", "no character device of type 'nmdm'"],
    ["type='pipe'><source path='/a'/><source path='/b'/>", 'takes 1 <source>'],
    ["type='tcp'><source host='h' service='1'><reconnect enabled='yes' timeout='0'/></source>", 'one second or more'],
    [
      "type='unix'><source mode='bind' path='/s'><reconnect enabled='yes' timeout='1'/></source>",
      "only a source of mode 'connect' can reconnect",
    ],
  ])('refuses %s', (xml, message) => {
    const faults = benchDevices(`<serial ${xml}</serial>`, {
      families: [{ ...serial, plan: () => [] }],
      types: ['isa-serial'],
    }).faults;
    expect(faults.join('\n')).toContain(message);
  });

  it('says so when this QEMU lacks the back end', () => {
    const options = { families: [{ ...channel, plan: () => [] }], without: ['chardev-spicevmc'] as const };
    const xml = "<channel type='spicevmc'><target type='virtio'/></channel>";
    expect(benchDevices(xml, options).faults).toEqual([
      "this QEMU has no character device of type 'spicevmc'",
      "type 'spicevmc' ends in a SPICE client: add <graphics type='spice'/>",
    ]);
  });
});

describe('reconnectProps', () => {
  it('counts in the unit that QEMU knows', () => {
    const old = benchCapabilities({ without: ['chardev-reconnect-ms'] });
    expect(reconnectProps({ enabled: true, timeout: 2 }, old)).toEqual({ reconnect: 2 });
    expect(reconnectProps({ enabled: false }, benchCapabilities())).toEqual({ 'reconnect-ms': 0 });
    expect(reconnectProps(undefined, old)).toEqual({});
  });
});

describe('unixChardev', () => {
  it('listens without a descriptor, for back ends that QEMU waits for', () => {
    expect(unixChardev('charnet0', { path: '/s', server: true }, { caps: benchCapabilities() }).kind).toBe('chardev');
    expect(unixChardev('c', { path: '/s', server: true }, { caps: benchCapabilities() })).toMatchObject({
      props: { backend: 'socket', id: 'c', path: '/s', server: true },
    });
  });
});
