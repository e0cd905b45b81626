import { describe, expect, it } from 'vitest';
import { domainXml, faultsOf, planContext } from '../../../../../tests/support/plan-context.ts';
import { renderPart } from '../../plan/render.ts';
import { FAMILY } from './index.ts';

const UUID = '6d0b1c1e-2f6a-4c5e-8d57-9f0a4b2f6c11';

function run(devices: string, { arch = 'x86_64', name = 'guest' } = {}) {
  const xml = domainXml(`<uuid>${UUID}</uuid><os><type arch='${arch}'>hvm</type></os><devices>${devices}</devices>`);
  const context = planContext(xml.replace('<name>guest<', `<name>${name}<`), {
    caps: {
      tpmModels: ['tpm-tis', 'tpm-crb', 'tpm-spapr', 'spapr-tpm-proxy'],
      tpmTypes: ['emulator', 'passthrough'],
      features: ['device-json-hotplug'],
    },
    host: { helpers: { swtpm: { path: '/usr/bin/swtpm' } } },
  });
  const selected = FAMILY.select(context.domain);
  for (const device of selected) FAMILY.fillDefaults?.(device, context);
  for (const device of selected) FAMILY.validate?.(device, context);
  for (const [index, device] of selected.entries()) device.alias = { name: FAMILY.alias(device, index, context) };
  const args = selected
    .flatMap((device) => FAMILY.plan(device, context))
    .map((part) => renderPart(part, context.caps).join(' '));
  return { context, args, faults: faultsOf(context), devices: selected };
}

const tpm = (backend: string, model = ''): string => `<tpm${model && ` model='${model}'`}>${backend}</tpm>`;

describe('an emulated TPM', () => {
  it('is reached by its socket', () => {
    const { args, faults, context } = run(tpm("<backend type='emulator' version='2.0'/>", 'tpm-crb'));
    const socket = '/var/run/libvirt/qemu/swtpm/1-guest-swtpm.sock';
    expect(faults).toEqual([]);
    expect(args).toEqual([
      `-chardev socket,id=chrtpm,path=${socket}`,
      '-tpmdev emulator,id=tpm-tpm0,chardev=chrtpm',
      '-device {"driver":"tpm-crb","tpmdev":"tpm-tpm0","id":"tpm0"}',
    ]);
    expect(context.files).toEqual([
      { kind: 'directory', path: `/var/lib/libvirt/swtpm/${UUID}/tpm2`, mode: 0o700, keep: true },
      { kind: 'socket', path: socket },
    ]);
  });

  it('is made once, then run, with its passphrase on descriptors', () => {
    const encryption = `<encryption secret='${UUID}'/>`;
    const { context } = run(tpm(`<backend type='emulator' version='2.0' debug='3'>${encryption}</backend>`));
    const [setup, emulator] = context.helpers;
    const secret = { kind: 'secret', secret: { type: 'vtpm', uuid: UUID }, format: 'raw' };
    expect(setup).toMatchObject({ command: 'swtpm_setup', oneShot: true, fds: [secret] });
    expect(setup?.args.join(' ')).toBe(
      `--tpm-state /var/lib/libvirt/swtpm/${UUID}/tpm2 --tpm2 --pwdfile-fd 3 --cipher aes-256-cbc --vmid guest:${UUID} ` +
        '--createek --create-ek-cert --create-platform-cert --lock-nvram --not-overwrite',
    );
    expect(emulator?.command).toBe('/usr/bin/swtpm');
    expect(emulator?.args.join(' ')).toBe(
      `socket --ctrl type=unixio,fd=3 --tpmstate dir=/var/lib/libvirt/swtpm/${UUID}/tpm2,mode=0600 --log fd=4,level=3 ` +
        '--terminate --tpm2 --key pwdfd=5,mode=aes-256-cbc --migration-key pwdfd=6,mode=aes-256-cbc',
    );
    expect(emulator?.fds?.map(({ kind }) => kind)).toEqual(['listen-unix', 'file', 'secret', 'secret']);
  });

  it('switches its PCR banks before each start, and may keep its state elsewhere', () => {
    const { context } = run(
      tpm(
        `<backend type='emulator' version='2.0'><active_pcr_banks><sha512/><sha256/></active_pcr_banks>
           <source type='file' path='/srv/state'/><profile source='local:x' removeDisabled='check'/></backend>`,
      ),
    );
    expect(context.helpers.map(({ name }) => name)).toEqual(['swtpm-setup', 'swtpm-banks', 'swtpm']);
    expect(context.helpers[0]?.args.slice(-4)).toEqual([
      '--profile-name',
      'local:x',
      '--profile-remove-disabled',
      'check',
    ]);
    expect(context.helpers[1]?.args.slice(-3)).toEqual(['--reconfigure', '--pcr-banks', 'sha256,sha512']);
    expect(context.helpers[2]?.args).toContain('backend-uri=file:///srv/state');
    expect(context.files.map(({ kind }) => kind)).toEqual(['socket']);
  });

  it('cannot be given options by the guest’s name', () => {
    const { context } = run(tpm("<backend type='emulator'/>"), { name: 'a,level=20' });
    const [, , , ...rest] = context.helpers.at(-1)?.args ?? [];
    expect(rest.join(' ')).not.toContain('level=20');
  });
});

describe('other TPMs', () => {
  it('are the host’s own, by descriptor, or another program’s', () => {
    const host = run(tpm("<backend type='passthrough'/>"));
    expect(host.args).toEqual([
      '-add-fd set=0,fd=3,opaque=tpm0-tpm',
      '-add-fd set=1,fd=4,opaque=tpm0-cancel',
      '-tpmdev passthrough,id=tpm-tpm0,path=/dev/fdset/0,cancel-path=/dev/fdset/1',
      '-device {"driver":"tpm-tis","tpmdev":"tpm-tpm0","id":"tpm0"}',
    ]);
    expect(host.context.fds[0]).toEqual({ kind: 'file', path: '/dev/tpm0', flags: 'r+' });
    const source = "<source type='unix' mode='connect' path='/a,b'/>";
    expect(run(tpm(`<backend type='external'>${source}</backend>`)).args[0]).toBe(
      '-chardev socket,id=chrtpm,path=/a,,b',
    );
    expect(run(tpm("<backend type='passthrough'/>"), { arch: 'ppc64' }).args).toEqual([
      '-device {"driver":"spapr-tpm-proxy","id":"tpm0","host-path":"/dev/tpm0"}',
    ]);
    expect(run(tpm("<backend type='emulator'/>"), { arch: 'aarch64' }).args.at(-1)).toContain('"tpm-tis-device"');
  });

  it.each([
    ['x86_64', 'tpm-tis', '1.2'],
    ['aarch64', 'tpm-tis', '2.0'],
    ['ppc64', 'tpm-spapr', '2.0'],
  ])('default to what fits %s', (arch, model, version) => {
    expect(run(tpm("<backend type='emulator'/>"), { arch }).devices[0]).toMatchObject({ model, backend: { version } });
  });

  it.each([
    [tpm("<backend type='emulator'/>").repeat(2), /one TPM only/],
    [tpm("<backend type='emulator' version='1.2'/>", 'tpm-crb'), /version 1.2 does not fit/],
    [tpm("<backend type='emulator' version='1.2'><active_pcr_banks/></backend>"), /needs version 2.0/],
    [tpm("<backend type='emulator' version='2.0'><source type='dir' path='/a,b'/></backend>"), /no path with a comma/],
    [tpm("<backend type='external'/>"), /an external TPM needs/],
    [tpm("<backend type='emulator' version='2.0'/>", 'spapr-tpm-proxy'), /host's own TPM/],
  ])('%s is refused', (xml, message) => {
    expect(run(xml).faults).toContainEqual(expect.stringMatching(message));
  });
});
