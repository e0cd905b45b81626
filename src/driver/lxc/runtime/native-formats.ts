/** `domxml-from-native` and `domxml-to-native` of containers: the one format there is, with its texts and its errors. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { randomBytes, randomUuid } from '../../../core/random.ts';
import { formatDomain, parseDomain } from '../../../model/domain/domain.ts';
import { domainToLxc } from '../native/from-domain.ts';
import type { LxcConfigOptions } from '../native/lxc-config.ts';
import { lxcToDomain } from '../native/to-domain.ts';
import { LIBVIRT_CONTROLLER } from '../plan/complete-definition.ts';

const FORMAT = 'lxc-tools';

/** A configuration's text as a definition. What it says and a definition cannot is told in comments before it. */
export function fromNative(
  format: string,
  config: string,
  options: LxcConfigOptions = {},
): { xml: string; notes: readonly string[] } {
  requireFormat(format);
  const { domain, notes } = lxcToDomain(config, {
    ...options,
    uuid: randomUuid(),
    randomBytes,
    emulator: LIBVIRT_CONTROLLER,
  });
  const comments = notes.map((note) => `<!-- ${note.replaceAll('--', '- -')} -->\n`).join('');
  return { xml: comments + formatDomain(domain), notes };
}

export function toNative(format: string, xml: string): string {
  requireFormat(format);
  const { text, notes } = domainToLxc(parseDomain(xml).domain);
  return notes.map((note) => `# ${note}\n`).join('') + text;
}

function requireFormat(format: string): void {
  if (format === FORMAT) return;
  throw new VirtError(`unsupported config type '${format}': containers have ${FORMAT}`, {
    code: ErrorCode.INVALID_ARG,
    domain: ErrorDomain.LXC,
  });
}
