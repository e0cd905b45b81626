/** A guest's state in a file: save, restore, managed save, core dumps. Part of the driver contract. */
import type { DomainIdentity, Waiting } from './driver.ts';

export interface SaveOptions extends Waiting {
  /** Definition to keep instead of the running one; the guest must not see a difference. */
  readonly xml?: string | undefined;
  /** The file is written or read past the host's page cache (O_DIRECT). */
  readonly bypassCache?: boolean;
  /** Whether the restored guest runs; default: as it was. */
  readonly resume?: 'running' | 'paused' | undefined;
  /** `raw`, `gzip`, `bzip2`, `xz`, `lzop`, `zstd`; default: `save_image_format`. */
  readonly format?: string | undefined;
}

export interface CoreDumpOptions extends Waiting {
  /** Let the guest run meanwhile. */
  readonly live?: boolean;
  /** End the guest afterwards, as crashed. */
  readonly crash?: boolean;
  /** Reset it afterwards. */
  readonly reset?: boolean;
  readonly bypassCache?: boolean;
  /** Only the guest's memory, as ELF or in a kdump format. */
  readonly memoryOnly?: boolean;
  readonly format?: 'raw' | 'kdump-zlib' | 'kdump-lzo' | 'kdump-snappy' | 'win-dmp';
}

export interface SavingOperations {
  /** Writes the guest's state to `path` (libvirt's image format) and ends it. */
  save(uuid: string, path: string, options?: SaveOptions): Promise<void>;
  /** Starts a guest from such a file; a file that cannot be restored is kept. */
  restore(path: string, options?: SaveOptions): Promise<DomainIdentity>;
  savedXml(path: string, options?: { readonly secure?: boolean } & Waiting): Promise<string>;
  defineSaved(path: string, xml: string, options?: Pick<SaveOptions, 'resume' | 'signal'>): Promise<void>;
  /** Saves where the next start finds it. */
  managedSave(uuid: string, options?: Omit<SaveOptions, 'xml'>): Promise<void>;
  hasManagedSave(uuid: string, options?: Waiting): Promise<boolean>;
  removeManagedSave(uuid: string, options?: Waiting): Promise<void>;
  managedSaveXml(uuid: string, options?: { readonly secure?: boolean } & Waiting): Promise<string>;
  defineManagedSave(uuid: string, xml: string, options?: Pick<SaveOptions, 'resume' | 'signal'>): Promise<void>;
  coreDump(uuid: string, path: string, options?: CoreDumpOptions): Promise<void>;
}
