/** Whether this host has user namespaces to give, for containers whose users are mapped. The runtime's own words for it do not say what to do. */
import { readFileSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { errnoOf } from '../../../process/process-error.ts';

/** `forWhat`: the part of the definition that needs them. @throws VirtError CONFIG_UNSUPPORTED saying why not and what to do */
export function requireUserNamespaces({
  forWhat = '<idmap>',
  procRoot = '/proc',
}: {
  readonly forWhat?: string;
  readonly procRoot?: string;
} = {}): void {
  const allowed = read(`${procRoot}/sys/user/max_user_namespaces`);
  if (allowed === undefined) throw refusal(forWhat, 'this kernel has none (CONFIG_USER_NS)', 'use another kernel');
  if (allowed === '0') {
    throw refusal(forWhat, 'user.max_user_namespaces is 0', 'as root: sysctl user.max_user_namespaces=15000');
  }
}

function refusal(forWhat: string, why: string, fix: string): VirtError {
  return new VirtError(
    `unsupported configuration: ${forWhat} needs user namespaces: ${why}; ${fix}${forWhat === '<idmap>' ? ", or leave <idmap> out and trust the container's root" : ''}`,
    { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.LXC },
  );
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
