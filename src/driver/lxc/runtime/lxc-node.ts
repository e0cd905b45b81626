/** The host as a connection for containers tells of it. They use its processors as they are, so that there is nothing to compare. */
import { HostInformation } from '../../../guest/host-information.ts';
import type { NodeOperations } from '../../node-operations.ts';
import { unsupported } from './unsupported.ts';

export class LxcNode extends HostInformation implements NodeOperations {
  async maxVcpus(): Promise<number> {
    throw unsupported('virConnectGetMaxVcpus');
  }

  async cpuModelNames(): Promise<readonly string[]> {
    throw unsupported('virConnectGetCPUModelNames');
  }

  async compareCpu(): Promise<never> {
    throw unsupported('virConnectCompareCPU');
  }

  async baselineCpu(): Promise<string> {
    throw unsupported('virConnectBaselineCPU');
  }

  async compareHypervisorCpu(): Promise<never> {
    throw unsupported('virConnectCompareHypervisorCPU');
  }

  async baselineHypervisorCpu(): Promise<string> {
    throw unsupported('virConnectBaselineHypervisorCPU');
  }

  async securityModel(): Promise<{ readonly model: string; readonly doi: string }> {
    const { readHostSecurity } = await import('../../../security/host-security.ts');
    const { selinux, apparmor } = readHostSecurity();
    return { model: selinux ? 'selinux' : apparmor ? 'apparmor' : 'none', doi: '0' };
  }
}
