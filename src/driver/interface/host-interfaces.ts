/**
 * Network interfaces of this host, told as libvirt's udev back end tells them: from sysfs, without what belongs to guests (tap devices) or to a
 * bridge. Nothing is changed: like libvirtd without netcf it knows no configuration files.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { formatHostInterface } from '../../model/host-interface.ts';
import type { Waiting } from '../driver.ts';
import type { HostInterfaceIdentity, InterfaceOperations } from '../interface-operations.ts';
import { describeInterface, type InterfaceFacts } from './describe-interface.ts';

export interface InterfaceRoots {
  readonly sys?: string;
  readonly proc?: string;
}

export class HostInterfaces implements InterfaceOperations {
  readonly #dir: string;
  readonly #proc: string;

  constructor({ sys = '/sys', proc = '/proc' }: InterfaceRoots = {}) {
    this.#dir = join(sys, 'class/net');
    this.#proc = proc;
  }

  async list({ active }: { readonly active?: boolean | undefined } & Waiting = {}): Promise<HostInterfaceIdentity[]> {
    return this.#ownNames()
      .filter((name) => active === undefined || active === this.#isUp(name))
      .map((name) => this.#identity(name));
  }

  async lookupByName(name: string): Promise<HostInterfaceIdentity> {
    this.#require(name);
    return this.#identity(name);
  }

  async lookupByMac(mac: string): Promise<HostInterfaceIdentity> {
    const [found, another] = this.#ownNames().filter((name) => this.#identity(name).mac === mac.toLowerCase());
    if (found === undefined) throw fail(ErrorCode.NO_INTERFACE, `couldn't find interface with MAC address '${mac}'`);
    if (another !== undefined)
      throw fail(
        ErrorCode.MULTIPLE_INTERFACES,
        `the MAC address '${mac}' matches multiple interfaces: ${found}, ${another}`,
      );
    return this.#identity(found);
  }

  /** What is inactive is described as it is: there is no other configuration. */
  async xmlDesc(name: string): Promise<string> {
    this.#require(name);
    return formatHostInterface(describeInterface(name, (of) => this.#facts(of)));
  }

  async isActive(name: string): Promise<boolean> {
    this.#require(name);
    return this.#isUp(name);
  }

  #require(name: string): void {
    if (!this.#names().includes(name)) throw fail(ErrorCode.NO_INTERFACE, `couldn't find interface named '${name}'`);
  }

  #identity(name: string): HostInterfaceIdentity {
    return { name, mac: this.#read(name, 'address') ?? '' };
  }

  #isUp(name: string): boolean {
    return this.#read(name, 'operstate') === 'up';
  }

  /** Without tap devices, and without ports of bridges, which have the bridge's address. */
  #ownNames(): string[] {
    return this.#names().filter((name) => !this.#has(name, 'tun_flags') && !this.#has(name, 'brport/state'));
  }

  #names(): string[] {
    // A folder without `uevent` is no interface: the bonding module has a file of its own there.
    return listOf(this.#dir).filter((name) => this.#has(name, 'uevent'));
  }

  #has(name: string, attribute: string): boolean {
    return readOr(join(this.#dir, name, attribute)) !== undefined;
  }

  #read(name: string, attribute: string): string | undefined {
    return readOr(join(this.#dir, name, attribute))?.trim();
  }

  #facts(name: string): InterfaceFacts {
    return {
      attribute: (attribute) => this.#read(name, attribute),
      entries: (folder) => listOf(join(this.#dir, name, folder)),
      vlan: () => readOr(join(this.#proc, 'net/vlan', name)),
    };
  }
}

/** Names, sorted. */
function listOf(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch {
    // Most interfaces lack most folders.
    return [];
  }
}

function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // sysfs leaves out what an interface does not have.
    return undefined;
  }
}

function fail(code: ErrorCode, message: string): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.INTERFACE });
}
