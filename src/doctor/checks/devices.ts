/** Device nodes that guests use, and what helper programs and firmware there are. */
import { accessSync, constants } from 'node:fs';
import { hostArch } from '../../host/cpu.ts';
import { firmwareDirs, readFirmwareDescriptors } from '../../host/firmware.ts';
import { readHelperPrograms } from '../../host/helper-programs.ts';
import {
  type DoctorHost,
  type Finding,
  fail,
  isThere,
  lookUp,
  moduleFix,
  pass,
  readText,
  rootFix,
  warn,
} from '../finding.ts';

export function checkDeviceNodes(host: DoctorHost): Finding[] {
  const misc = readText(`${host.proc}/misc`) ?? '';
  return [...checkTun(host, misc), ...checkVhost(host, misc), ...checkFuse(host.dev)];
}

function checkTun(host: DoctorHost, misc: string): Finding[] {
  const { dev } = host;
  const path = `${dev}/net/tun`;
  const why = 'bridged and routed networks need tap devices; user-mode networking does not';
  if (!isThere(path)) {
    const fix = / tun$/m.test(misc)
      ? rootFix(host, `mkdir -p ${dev}/net && mknod -m 666 ${path} c 10 200`)
      : (moduleFix(host, 'tun') ??
        'modprobe tun   # on the host; then docker run --device /dev/net/tun --cap-add NET_ADMIN …');
    return [warn('tun', 'tap devices', `there is no ${path}`, why, fix)];
  }
  if (!mayUse(path))
    return [
      warn(
        'tun',
        'tap devices',
        `${path} cannot be opened`,
        why,
        'docker run --device /dev/net/tun --cap-add NET_ADMIN …',
      ),
    ];
  return [pass('tun', 'tap devices', `${path} can be opened`)];
}

function checkVhost(host: DoctorHost, misc: string): Finding[] {
  const { dev } = host;
  return ['vhost-net', 'vhost-vsock'].map((name) => {
    const path = `${dev}/${name}`;
    const what = name === 'vhost-net' ? 'networks in the kernel' : 'vsock devices';
    if (isThere(path)) return pass(name, name, `${path} is there`);
    const why =
      name === 'vhost-net' ? 'virtio networking works without it, more slowly' : 'guests with <vsock> do not start';
    const fix = new RegExp(` ${name}$`, 'm').test(misc)
      ? `docker run --device ${path} …`
      : (moduleFix(host, name.replace('-', '_')) ?? `modprobe ${name.replace('-', '_')}   # on the host`);
    return warn(name, name, `there is no ${path} (${what})`, why, fix);
  });
}

/** libvirt's check of LXC's own /proc. */
function checkFuse(dev: string): Finding[] {
  return [
    isThere(`${dev}/fuse`)
      ? pass('fuse', 'FUSE', `${dev}/fuse is there`)
      : pass('fuse', 'FUSE', `no ${dev}/fuse: nothing of ours needs it`),
  ];
}

export async function checkPrograms(host: DoctorHost): Promise<Finding[]> {
  const helpers = await readHelperPrograms({ signal: host.signal });
  const describe = (name: 'swtpm' | 'virtiofsd' | 'passt', what: string, fix: string): Finding => {
    const found = helpers[name];
    if (found === undefined) return pass(name, name, `not installed; only ${what} need it (${fix})`);
    return pass(name, name, `${found.version ?? 'of unknown version'} at ${found.path}`);
  };
  return [
    ...checkEmulator(host),
    describe('swtpm', 'guests with a TPM', 'apt-get install swtpm swtpm-tools'),
    describe('virtiofsd', 'shared folders', 'apt-get install virtiofsd, or qemu-system-common'),
    ...checkPasst(helpers.passt),
    ...checkQemuImg(host),
  ];
}

function checkEmulator(host: DoctorHost): Finding[] {
  const name = `qemu-system-${hostArch()}`;
  const path = lookUp(host, name);
  if (path !== undefined) return [pass('emulator', 'QEMU', path)];
  return [
    fail(
      'emulator',
      'QEMU',
      `there is no ${name}`,
      'without it no guest starts',
      'apt-get install qemu-system-x86   # or qemu-system-arm, qemu-system-misc',
    ),
  ];
}

/** Debian 12 ships a passt (2023-03) that gives guests no address and then spins. */
function checkPasst(found: { version?: string; path: string } | undefined): Finding[] {
  if (found === undefined) return [pass('passt', 'passt', 'not installed; user-mode networking works without it')];
  const released = /(20\d\d)[_-]?(\d\d)/.exec(found.version ?? '');
  const isOld = released !== null && `${released[1]}${released[2]}` < '202309';
  if (!isOld) return [pass('passt', 'passt', `${found.version ?? 'of unknown version'} at ${found.path}`)];
  return [
    warn(
      'passt',
      'passt',
      `${found.version} at ${found.path}`,
      'versions before 2023-09 give guests no address',
      "leave <backend type='passt'/> out: QEMU's own user-mode network is used then",
    ),
  ];
}

function checkQemuImg(host: DoctorHost): Finding[] {
  const path = lookUp(host, 'qemu-img');
  if (path !== undefined) return [pass('qemu-img', 'qemu-img', path)];
  return [
    warn(
      'qemu-img',
      'qemu-img',
      'not installed',
      'UEFI variables in qcow2 and transient disks need it',
      'apt-get install qemu-utils',
    ),
  ];
}

export function checkFirmware(_host: DoctorHost): Finding[] {
  const { descriptors, problems } = readFirmwareDescriptors(firmwareDirs());
  const findings = problems.map((problem) =>
    warn('firmware-descriptor', 'firmware', problem, 'this firmware is not offered to guests', 'reinstall its package'),
  );
  if (descriptors.length === 0) {
    return [
      ...findings,
      warn(
        'firmware',
        'firmware',
        'no UEFI firmware is described',
        "guests with <os firmware='efi'> do not start",
        'apt-get install ovmf   # or qemu-efi-aarch64',
      ),
    ];
  }
  return [...findings, pass('firmware', 'firmware', `${descriptors.length} described`)];
}

function mayUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
