/**
 * The TPM emulator (swtpm) of a guest: where its state lies, how it is made the first time, and how it is run. Its
 * socket, log and passphrase are inherited descriptors, so that names with commas cannot be taken for options.
 */
import type { Tpm } from '../../../../model/domain/devices/tpm.ts';
import type { PlanContext } from '../../context.ts';
import type { FdRequest, HelperProcess } from '../../plan/parts.ts';

const FIRST_FD = 3;
const SWTPM = { runsAs: 'swtpm' } as const;

/** Plans the emulator. @returns the socket by which QEMU reaches it */
export function planSwtpm(tpm: Tpm, context: PlanContext): string {
  const { layout, id, name, domain } = context;
  const { backend } = tpm;
  const version = backend.version ?? '2.0';
  const socket = layout.tpmSocket(id, name);
  if (backend.source === undefined) {
    const path = layout.tpmStateDir(domain.uuid ?? '', version);
    context.files.push({ kind: 'directory', path, mode: 0o700, keep: true });
  }
  context.files.push({ kind: 'socket', path: socket });
  const work: Work = { tpm, context, version };
  // Run before every start: it leaves a state that is there alone (--not-overwrite).
  context.helpers.push(setup(work));
  if (backend.activePcrBanks !== undefined) context.helpers.push(reconfigure(work));
  context.helpers.push(emulator(work, socket));
  return socket;
}

interface Work {
  readonly tpm: Tpm;
  readonly context: PlanContext;
  readonly version: string;
}

/** Descriptors of one process, numbered as they are asked for. */
class Descriptors {
  readonly requests: FdRequest[] = [];

  add(request: FdRequest): number {
    this.requests.push(request);
    return FIRST_FD + this.requests.length - 1;
  }
}

/** Makes the state, with endorsement key and certificates, unless there is one. */
function setup(work: Work): HelperProcess {
  const { context, tpm } = work;
  const { profile } = tpm.backend;
  const fds = new Descriptors();
  const args = [
    ...setupArgs(work, fds),
    '--vmid',
    `${context.name}:${context.domain.uuid ?? ''}`,
    '--createek',
    '--create-ek-cert',
    '--create-platform-cert',
    '--lock-nvram',
    '--not-overwrite',
  ];
  if (profile?.source !== undefined) args.push('--profile-name', profile.source);
  if (profile?.removeDisabled !== undefined) args.push('--profile-remove-disabled', profile.removeDisabled);
  return {
    ...SWTPM,
    name: 'swtpm-setup',
    command: program(context, 'swtpm_setup'),
    args,
    oneShot: true,
    fds: fds.requests,
  };
}

/** Switches the PCR banks before each start, as the definition may have changed. */
function reconfigure(work: Work): HelperProcess {
  const { context, tpm } = work;
  const banks = tpm.backend.activePcrBanks ?? {};
  const names = (['sha1', 'sha256', 'sha384', 'sha512'] as const).filter((bank) => banks[bank] === true);
  const fds = new Descriptors();
  const args = [...setupArgs(work, fds), '--reconfigure', '--pcr-banks', names.length === 0 ? '-' : names.join(',')];
  return {
    ...SWTPM,
    name: 'swtpm-banks',
    command: program(context, 'swtpm_setup'),
    args,
    oneShot: true,
    fds: fds.requests,
  };
}

function setupArgs(work: Work, fds: Descriptors): string[] {
  const { tpm, version } = work;
  const args = ['--tpm-state', stateUri(work)];
  if (version === '2.0') args.push('--tpm2');
  if (tpm.backend.encryption !== undefined) {
    args.push('--pwdfile-fd', String(fds.add(passphrase(tpm))), '--cipher', 'aes-256-cbc');
  }
  return args;
}

function emulator(work: Work, socket: string): HelperProcess {
  const { context, tpm, version } = work;
  const { backend } = tpm;
  const fds = new Descriptors();
  const listen = fds.add({ kind: 'listen-unix', path: socket });
  const log = fds.add({ kind: 'file', path: context.layout.tpmLogFile(context.name), flags: 'a' });
  const level = backend.debug === undefined ? '' : `,level=${backend.debug}`;
  const args = [
    'socket',
    '--ctrl',
    `type=unixio,fd=${listen}`,
    '--tpmstate',
    tpmstate(work),
    '--log',
    `fd=${log}${level}`,
    // It goes when QEMU does.
    '--terminate',
  ];
  if (version === '2.0') args.push('--tpm2');
  if (backend.encryption !== undefined) {
    args.push('--key', `pwdfd=${fds.add(passphrase(tpm))},mode=aes-256-cbc`);
    args.push('--migration-key', `pwdfd=${fds.add(passphrase(tpm))},mode=aes-256-cbc`);
  }
  return { ...SWTPM, name: 'swtpm', command: program(context, 'swtpm'), args, fds: fds.requests };
}

function tpmstate({ tpm, context, version }: Work): string {
  const { source } = tpm.backend;
  if (source?.type === 'file') return `backend-uri=file://${source.path ?? ''}`;
  const dir = source?.path ?? context.layout.tpmStateDir(context.domain.uuid ?? '', version);
  return `dir=${dir},mode=0600`;
}

function stateUri({ tpm, context, version }: Work): string {
  const { source } = tpm.backend;
  if (source?.type === 'file') return `file://${source.path ?? ''}`;
  return source?.path ?? context.layout.tpmStateDir(context.domain.uuid ?? '', version);
}

function passphrase({ backend }: Tpm): FdRequest {
  return { kind: 'secret', secret: { type: 'vtpm', uuid: backend.encryption?.secret }, format: 'raw' };
}

/** Looked up by name when the host's facts do not hold it: then its absence is reported with the package to install. */
function program({ host }: PlanContext, name: 'swtpm' | 'swtpm_setup'): string {
  return host.helpers[name]?.path ?? name;
}
