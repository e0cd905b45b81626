/** What a container that needs a user namespace says where this host has none to give. The runtime's own words for it do not say what to do. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { whyNoProc, whyNoUserNamespaces } from '../../../host/user-namespaces.ts';

export interface UserNamespaceNeed {
  /** The part of the definition that needs it, or who does. */
  readonly forWhat?: string;
  readonly isRoot?: boolean;
  readonly procRoot?: string;
}

/** @throws VirtError CONFIG_UNSUPPORTED saying why not and what to do */
export function requireUserNamespaces({ forWhat = '<idmap>', isRoot = true, procRoot }: UserNamespaceNeed = {}): void {
  const refusal = whyNoUserNamespaces({ isRoot, proc: procRoot }) ?? (isRoot ? undefined : whyNoProc(procRoot));
  if (refusal === undefined) return;
  const otherwise = forWhat === '<idmap>' ? ", or leave <idmap> out and trust the container's root" : '';
  const fix = refusal.isCommand ? `as root: ${refusal.fix}` : refusal.fix;
  throw new VirtError(
    `unsupported configuration: ${forWhat} needs user namespaces: ${refusal.why}; ${fix}${otherwise}`,
    { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.LXC },
  );
}
