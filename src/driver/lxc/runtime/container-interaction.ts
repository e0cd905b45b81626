/**
 * What virtual machines do beyond their machine, asked of containers: they have no keyboard, screen or agent, and each call says so as libvirt does. The
 * name that a container goes by is known from its lease.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { activeGuest } from '../../../guest/domain-report.ts';
import type { InteractionOperations } from '../../interaction-operations.ts';
import type { LxcParts } from './lxc-parts.ts';
import { unsupported } from './unsupported.ts';

/** libvirt's names of the calls that no container answers. */
const CALLS = {
  sendKey: 'virDomainSendKey',
  injectNmi: 'virDomainInjectNMI',
  screenshot: 'virDomainScreenshot',
  guestInfo: 'virDomainGetGuestInfo',
  filesystems: 'virDomainGetFSInfo',
  guestVcpus: 'virDomainGetGuestVcpus',
  setGuestVcpus: 'virDomainSetGuestVcpus',
  time: 'virDomainGetTime',
  setTime: 'virDomainSetTime',
  freezeFilesystems: 'virDomainFSFreeze',
  thawFilesystems: 'virDomainFSThaw',
  trimFilesystems: 'virDomainFSTrim',
  setUserPassword: 'virDomainSetUserPassword',
  authorizedSshKeys: 'virDomainAuthorizedSSHKeysGet',
  setAuthorizedSshKeys: 'virDomainAuthorizedSSHKeysSet',
  pmSuspend: 'virDomainPMSuspendForDuration',
  pmWakeup: 'virDomainPMWakeup',
  setAgentTimeout: 'virDomainAgentSetResponseTimeout',
  monitorText: 'virDomainQemuMonitorCommand',
  agentText: 'virDomainQemuAgentCommand',
} as const satisfies Record<Exclude<keyof InteractionOperations, 'hostname'>, string>;

export function containerInteraction(parts: LxcParts): InteractionOperations {
  const refusing = Object.entries(CALLS).map(([name, api]) => [name, async () => await refuse(api)] as const);
  const refused = Object.fromEntries(refusing) as Record<keyof typeof CALLS, () => Promise<never>>;
  return { ...refused, hostname: async (uuid) => await hostnameOf(parts, uuid) };
}

async function refuse(api: string): Promise<never> {
  throw unsupported(api);
}

/** Of the first interface whose lease has a name. @throws VirtError NO_HOSTNAME */
async function hostnameOf({ store, host }: LxcParts, uuid: string): Promise<string> {
  const record = store.byUuid(uuid);
  const { domain } = activeGuest('measure', record);
  const networks = host.siblings?.guestNetworks;
  for (const { source, mac } of domain.devices?.interfaces ?? []) {
    if (source?.network === undefined || mac === undefined || networks === undefined) continue;
    const named = (await networks.leases(source.network, mac.address)).find(({ hostname }) => (hostname ?? '') !== '');
    if (named?.hostname !== undefined) return named.hostname;
  }
  throw new VirtError(
    `no hostname found: no interface of container '${record.name}' has a lease of a virtual network with a name in it`,
    { code: ErrorCode.NO_HOSTNAME, domain: ErrorDomain.LXC },
  );
}
