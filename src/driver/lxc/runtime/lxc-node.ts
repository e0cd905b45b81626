/** The host as a connection for containers tells of it. They use its processors as they are, so that there is nothing to compare. */
import { HostInformation } from '../../../guest/host-information.ts';
import type { NodeOperations } from '../../node-operations.ts';
import type { ContainerLabels } from './container-labels.ts';
import { unsupported } from './unsupported.ts';

export class LxcNode extends HostInformation implements NodeOperations {
  readonly #labels: ContainerLabels;

  constructor(labels: ContainerLabels) {
    super();
    this.#labels = labels;
  }

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
    return { model: this.#labels.model, doi: '0' };
  }
}
