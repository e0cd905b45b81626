/** All checks of the host, in the order of the report. They run at the same time. */
import { checkDeviceNodes, checkFirmware, checkPrograms } from './checks/devices.ts';
import {
  checkCgroups,
  checkContainer,
  checkLimits,
  checkNamespaces,
  checkReaper,
  checkSecurityModules,
} from './checks/isolation.ts';
import {
  checkAccelerator,
  checkDisk,
  checkEntropy,
  checkHugePages,
  checkIommu,
  checkMemory,
  checkProcessor,
} from './checks/machine.ts';
import {
  checkDefaultNetwork,
  checkDnsmasq,
  checkFirewall,
  checkForwarding,
  checkMacAddresses,
} from './checks/network.ts';
import { checkKernel, checkServices, checkSocketPaths } from './checks/services.ts';
import { checkSettings } from './checks/settings.ts';
import { type Check, type DoctorHost, type Finding, warn } from './finding.ts';

const CHECKS: readonly (readonly [name: string, check: Check])[] = [
  ['container', checkContainer],
  ['kernel', checkKernel],
  ['acceleration', checkAccelerator],
  ['processor', checkProcessor],
  ['programs', checkPrograms],
  ['firmware', checkFirmware],
  ['devices', checkDeviceNodes],
  ['cgroups', checkCgroups],
  ['namespaces', checkNamespaces],
  ['PID 1', checkReaper],
  ['limits', checkLimits],
  ['security', checkSecurityModules],
  ['settings', checkSettings],
  ['memory', checkMemory],
  ['disk', checkDisk],
  ['huge pages', checkHugePages],
  ['IOMMU', checkIommu],
  ['entropy', checkEntropy],
  ['firewall', checkFirewall],
  ['forwarding', checkForwarding],
  ['dnsmasq', checkDnsmasq],
  ['networks', checkDefaultNetwork],
  ['MAC addresses', checkMacAddresses],
  ['sockets', checkSocketPaths],
  ['services', checkServices],
];

/** A check that itself breaks is a finding, not the end of the others. */
export async function checkHost(host: DoctorHost): Promise<Finding[]> {
  const results = await Promise.all(
    CHECKS.map(async ([name, check]): Promise<Finding[]> => {
      try {
        return await check(host);
      } catch (error) {
        host.signal?.throwIfAborted();
        const what = error instanceof Error ? error.message : String(error);
        return [
          warn(`check-${name.replaceAll(' ', '-')}`, name, `could not be checked: ${what}`, 'nothing is known of it'),
        ];
      }
    }),
  );
  return results.flat();
}
