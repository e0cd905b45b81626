/** Network interfaces of the host. Part of the driver contract; named as the kernel names them. */
import type { Waiting } from './driver.ts';

export interface HostInterfaceIdentity {
  readonly name: string;
  readonly mac: string;
}

export interface InterfaceOperations {
  list(filter?: { readonly active?: boolean | undefined } & Waiting): Promise<readonly HostInterfaceIdentity[]>;
  lookupByName(name: string, options?: Waiting): Promise<HostInterfaceIdentity>;
  /** @throws VirtError MULTIPLE_INTERFACES where several have it */
  lookupByMac(mac: string, options?: Waiting): Promise<HostInterfaceIdentity>;
  xmlDesc(name: string, options?: { readonly inactive?: boolean } & Waiting): Promise<string>;
  isActive(name: string, options?: Waiting): Promise<boolean>;
}
