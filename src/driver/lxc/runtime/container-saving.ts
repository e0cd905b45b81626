/** A container's memory cannot be saved: whoever asks whether there is something saved is told that there is not. */
import type { SavingOperations } from '../../saving-operations.ts';
import type { LxcParts } from './lxc-parts.ts';
import { unsupported } from './unsupported.ts';

export class ContainerSaving implements SavingOperations {
  readonly #parts: Pick<LxcParts, 'store'>;

  constructor(parts: Pick<LxcParts, 'store'>) {
    this.#parts = parts;
  }

  async hasManagedSave(uuid: string): Promise<boolean> {
    this.#parts.store.byUuid(uuid);
    return false;
  }

  /** There is none. */
  async removeManagedSave(uuid: string): Promise<void> {
    this.#parts.store.byUuid(uuid);
  }

  async save(): Promise<void> {
    throw unsupported('virDomainSave');
  }

  async restore(): Promise<never> {
    throw unsupported('virDomainRestore');
  }

  async savedXml(): Promise<string> {
    throw unsupported('virDomainSaveImageGetXMLDesc');
  }

  async defineSaved(): Promise<void> {
    throw unsupported('virDomainSaveImageDefineXML');
  }

  async managedSave(): Promise<void> {
    throw unsupported('virDomainManagedSave');
  }

  async managedSaveXml(): Promise<string> {
    throw unsupported('virDomainManagedSaveGetXMLDesc');
  }

  async defineManagedSave(): Promise<void> {
    throw unsupported('virDomainManagedSaveDefineXML');
  }

  async coreDump(): Promise<void> {
    throw unsupported('virDomainCoreDump');
  }
}
