/** Network interfaces of the host behind the protocol. */
import type { Waiting } from '../../driver/driver.ts';
import type { HostInterfaceIdentity, InterfaceOperations } from '../../driver/interface-operations.ts';
import { REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { flagsOf, InterfaceListFlag, InterfaceXmlFlag } from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

export class RemoteInterfaces implements InterfaceOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async list(
    filter: { readonly active?: boolean | undefined } & Waiting = {},
  ): Promise<readonly HostInterfaceIdentity[]> {
    const flags = flagsOf(
      [InterfaceListFlag.ACTIVE, filter.active === true],
      [InterfaceListFlag.INACTIVE, filter.active === false],
    );
    return (await this.#calls.call(P.connectListAllInterfaces, { needResults: 1, flags }, filter)).ifaces;
  }

  async lookupByName(name: string, options: Waiting = {}): Promise<HostInterfaceIdentity> {
    return (await this.#calls.call(P.interfaceLookupByName, { name }, options)).iface;
  }

  async lookupByMac(mac: string, options: Waiting = {}): Promise<HostInterfaceIdentity> {
    return (await this.#calls.call(P.interfaceLookupByMacString, { mac }, options)).iface;
  }

  async xmlDesc(name: string, options: { readonly inactive?: boolean } & Waiting = {}): Promise<string> {
    const flags = flagsOf([InterfaceXmlFlag.INACTIVE, options.inactive]);
    return (await this.#calls.call(P.interfaceGetXmlDesc, { iface: named(name), flags }, options)).xml;
  }

  async isActive(name: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.interfaceIsActive, { iface: named(name) }, options)).active !== 0;
  }
}

/** Servers look interfaces up by their name alone. */
function named(name: string): HostInterfaceIdentity {
  return { name, mac: '' };
}
