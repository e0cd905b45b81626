import { describe, expect, it } from 'vitest';
import { formatDomain } from '../../../../model/domain/domain.ts';
import { renderPart } from '../../plan/render.ts';
import { type BenchOptions, benchDevices } from '../../testing/device-bench.ts';
import { fillAudioDefaults } from '../audio/index.ts';
import { fillGraphicsDefaults, planGraphics, validateGraphics } from './index.ts';

type Options = Partial<BenchOptions> & { id?: number };

/** Completes, checks and plans the displays of a guest. */
function bench(xml: string, options: Options = {}) {
  const { context, domain } = benchDevices(xml, { families: [], ...options });
  fillGraphicsDefaults(context);
  fillAudioDefaults(context);
  validateGraphics(context);
  const args = planGraphics(context).map((part) => renderPart(part, context.caps).join(' '));
  return { args, context, domain, faults: context.faults.faults.map(({ message }) => message) };
}

const argsOf = (xml: string, options?: Options) => {
  const { args, faults } = bench(xml, options);
  expect(faults).toEqual([]);
  return args;
};

const vnc = (attributes = '', inside = '') => `<graphics type='vnc' ${attributes}>${inside}</graphics>`;
const spice = (attributes = '', inside = '') => `<graphics type='spice' ${attributes}>${inside}</graphics>`;

describe('graphics', () => {
  it('tells QEMU when there are none', () => {
    expect(argsOf('')).toEqual(['-display none']);
  });

  it.each([
    [vnc(), '-vnc 127.0.0.1:0,audiodev=audio1'],
    [vnc("port='5907' listen='::1'"), '-vnc [::1]:7,audiodev=audio1'],
    [vnc("port='5907' websocket='5800'"), '-vnc 127.0.0.1:7,websocket=5800,audiodev=audio1'],
    [vnc("websocket='-1'"), '-vnc 127.0.0.1:0,websocket=5700,audiodev=audio1'],
    [vnc("sharePolicy='force-shared'"), '-vnc 127.0.0.1:0,share=force-shared,audiodev=audio1'],
    [vnc('', "<listen type='none'/>"), '-vnc none,audiodev=audio1'],
    [vnc("socket='/run/a,b=c.sock'"), '-vnc vnc=unix:/run/a,,b=c.sock,audiodev=audio1'],
    [vnc('', "<listen type='network' network='inner'/>"), '-vnc 192.0.2.1:0,audiodev=audio1'],
  ])('plans %s', (xml, expected) => {
    expect(argsOf(xml, { lookup: { networkAddress: (name) => (name === 'inner' ? '192.0.2.1' : undefined) } })).toEqual(
      [expected],
    );
  });

  it('asks the caller for ports, each display for its own', () => {
    const asked: unknown[] = [];
    const lookup = { graphicsPort: (request: object) => 6000 + asked.push(request) };
    const args = argsOf(vnc() + spice("autoport='yes'", "<channel name='main' mode='secure'/>"), {
      lookup,
      config: { spiceTls: true },
    });
    expect(args[0]).toContain('127.0.0.1:101,');
    expect(args[1]).toContain('port=6002,tls-port=6003,');
    expect(asked).toEqual([
      { index: 0, use: 'vnc' },
      { index: 1, use: 'spice' },
      { index: 1, use: 'spice-tls' },
    ]);
  });

  it('makes up sockets in the guest own folder', () => {
    const { args, context } = bench(vnc('', "<listen type='socket'/>"));
    const path = `${context.domainDir}/vnc.sock`;
    expect(args[0]).toContain(`vnc=unix:${path},`);
    expect(context.files).toContainEqual({ kind: 'socket', path });
    expect(argsOf(spice('', "<listen type='socket'/>"))[0]).toMatch(/^-spice unix=on,addr=\S+\/spice\.sock,/);
    const auto = argsOf(vnc(), { config: { vncAutoUnixSocket: true } });
    expect(auto[0]).toContain('vnc=unix:');
  });

  it('sets passwords over QMP and never among the arguments', () => {
    const { args, context } = bench(
      vnc("passwd='geheim' passwdValidTo='2030-01-02T03:04:05' connected='keep'") + spice("passwd='tiptop'"),
    );
    expect(args.join(' ')).not.toMatch(/geheim|tiptop|disable-ticketing/);
    expect(args[0]).toContain('password=on');
    expect(context.deferred).toEqual([
      { command: 'set_password', arguments: { protocol: 'vnc', password: 'geheim', connected: 'keep' } },
      { command: 'expire_password', arguments: { protocol: 'vnc', time: '1893553445' } },
      { command: 'set_password', arguments: { protocol: 'spice', password: 'tiptop', connected: undefined } },
      { command: 'expire_password', arguments: { protocol: 'spice', time: 'never' } },
    ]);
    const [, expire] = bench(vnc("passwd=''")).context.deferred;
    expect(expire?.arguments).toEqual({ protocol: 'vnc', time: 'now' });
  });

  it('encrypts and authenticates VNC as configured', () => {
    const config = {
      vncTls: true,
      vncTlsX509CertDir: '/pki',
      vncTlsX509SecretUuid: 'aa',
      vncSasl: true,
      vncSaslDir: '/sasl',
    };
    const { args, context } = bench(vnc("keymap='de'"), { config });
    expect(args.at(-1)).toBe('-k de');
    expect(args.at(-2)).toBe('-vnc 127.0.0.1:0,tls-creds=vnc-tls-creds0,sasl=on,audiodev=audio1');
    expect(args[1]).toContain('"passwordid":"vnc-tls-creds0-secret0"');
    expect(context.environment.SASL_CONF_PATH).toBe('/sasl');
  });

  it('writes SPICE settings with repeated channels in their order', () => {
    const xml = spice(
      "port='5910' tlsPort='5911' defaultMode='insecure'",
      `<channel name='usbredir' mode='secure'/><channel name='inputs' mode='insecure'/>
       <channel name='main' mode='secure'/><channel name='display' mode='any'/>
       <mouse mode='server'/><image compression='off'/><filetransfer enable='no'/><clipboard copypaste='yes'/>
       <gl enable='yes' rendernode='/dev/dri/a,b'/>`,
    );
    expect(argsOf(xml, { config: { spiceTls: true, spiceTlsX509CertDir: '/pki' } })).toEqual([
      '-spice port=5910,tls-port=5911,addr=127.0.0.1,agent-mouse=off,disable-ticketing=on,x509-dir=/pki,' +
        'plaintext-channel=default,tls-channel=main,plaintext-channel=inputs,tls-channel=usbredir,' +
        'image-compression=off,disable-agent-file-xfer=on,gl=on,rendernode=/dev/dri/a,,b,seamless-migration=on',
    ]);
  });

  it('listens nowhere when SPICE has no port', () => {
    const { args, domain } = bench(spice());
    expect(args).toEqual(['-spice port=0,disable-ticketing=on,seamless-migration=on']);
    expect(formatDomain(domain)).toContain("<graphics type='spice'>\n      <listen type='none'/>");
  });

  it('plans windows, headless OpenGL and D-Bus', () => {
    const sdl = bench("<graphics type='sdl' display=':3' xauth='/x' fullscreen='yes'><gl enable='yes'/></graphics>");
    expect(sdl.args).toEqual(['-full-screen', '-display sdl,gl=on']);
    expect(sdl.context.environment).toEqual({ DISPLAY: ':3', XAUTHORITY: '/x' });
    const lookup = { renderNode: () => '/dev/dri/renderD128' };
    expect(argsOf("<graphics type='egl-headless'/>", { lookup })).toEqual([
      '-display egl-headless,rendernode=/dev/dri/renderD128',
    ]);
    expect(argsOf("<graphics type='egl-headless'/>", { lookup, without: ['display-egl-headless-rendernode'] })).toEqual(
      ['-display egl-headless'],
    );
    expect(argsOf("<graphics type='dbus' p2p='yes'/>")).toEqual(['-display dbus,p2p=on']);
    expect(argsOf("<graphics type='dbus' address='unix:path=/a,guid=1'/>")).toEqual([
      '-display dbus,addr=unix:path=/a,,guid=1',
    ]);
  });

  it('starts a bus for a D-Bus display, and the RDP server on it', () => {
    const { args, context } = bench("<graphics type='dbus'/><graphics type='rdp' port='3390'/>");
    const socket = context.layout.dbusSocket(1, 'demo');
    expect(args).toEqual([`-display dbus,addr=unix:path=${socket}`]);
    expect(context.helpers.map(({ name, readySocket }) => [name, readySocket])).toEqual([
      ['dbus-daemon', socket],
      ['qemu-rdp', undefined],
    ]);
    expect(context.helpers[1]?.args).toContain('--bind-address=127.0.0.1:3390');
    expect(context.files).toContainEqual(
      expect.objectContaining({ kind: 'file', path: context.layout.dbusConfig(1, 'demo') }),
    );
  });

  it.each<[string, RegExp, Options?]>([
    [vnc("port='80'"), /5900 to 65535/],
    [vnc("autoport='no'"), /5900 to 65535/],
    [vnc("passwd='123456789'"), /at most 8/],
    [vnc("passwd='1' connected='fail'"), /connected='keep' only/],
    [vnc("powerControl='yes'"), /no VNC power control/],
    [vnc() + vnc(), /only one display of type 'vnc'/],
    [vnc("listen='1.2.3.4'", "<listen type='address' address='4.3.2.1'/>"), /'listen' says 1\.2\.3\.4/],
    [vnc('', "<listen type='network'/>"), /'network'/],
    [vnc('', "<listen type='address'/><listen type='none'/>"), /one <listen>/],
    [vnc('', "<audio id='7'/>"), /no audio back end with id 7/],
    [vnc(), /no display of type 'vnc'/, { without: ['vnc'] }],
    [spice("tlsPort='5901'"), /TLS is switched off/],
    [spice("port='5901' defaultMode='secure'"), /defaultMode wants TLS/],
    [
      spice("tlsPort='5901'", "<channel name='main' mode='insecure'/>"),
      /channel 'main' wants no TLS/,
      { config: { spiceTls: true } },
    ],
    [spice('', "<gl enable='yes'/>") + "<graphics type='egl-headless'/>", /one OpenGL display/],
    ["<graphics type='sdl'/><graphics type='egl-headless'/>", /goes with vnc or spice/],
    ["<graphics type='desktop'/>", /no display of type 'desktop'/],
    ["<graphics type='rdp'/>", /add <graphics type='dbus'/],
    ["<graphics type='rdp'><listen type='socket'/></graphics>", /not for rdp/],
    ["<graphics type='dbus'><audio id='1'/></graphics><audio id='1' type='none'/>", /takes 'dbus'/],
  ])('refuses %s', (xml, message, options) => {
    expect(bench(xml, options).faults.join('\n')).toMatch(message);
  });

  it('writes what it has read', () => {
    const xml = `    <graphics type='vnc' port='5901' autoport='no' websocket='5800' listen='::' keymap='de' sharePolicy='ignore' powerControl='yes' passwd='a' passwdValidTo='2030-01-01T00:00:00' connected='keep'>
      <listen type='address' address='::'/>
      <audio id='1'/>
    </graphics>`;
    expect(formatDomain(bench(xml).domain)).toContain(xml);
  });
});
