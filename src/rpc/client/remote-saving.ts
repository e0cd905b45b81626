/** Saving and restoring guests behind the protocol. Paths are the server's. */
import { ErrorCode, VirtError } from '../../core/errors.ts';
import type { DomainIdentity, Waiting } from '../../driver/driver.ts';
import type { CoreDumpOptions, SaveOptions, SavingOperations } from '../../driver/saving-operations.ts';
import { REMOTE_PROCEDURES as P, toTypedParams } from '../../protocol/index.ts';
import { DUMP_FORMATS, DumpFlag, flagsOf, SaveFlag, XmlDescFlag } from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

export class RemoteSaving implements SavingOperations {
  readonly #calls: RemoteCalls;

  constructor(calls: RemoteCalls) {
    this.#calls = calls;
  }

  async save(uuid: string, path: string, options: SaveOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = saveFlags(options);
    if (options.format === undefined) {
      await this.#calls.call(P.domainSaveFlags, { dom, to: path, dxml: options.xml, flags }, options);
      return;
    }
    const params = {
      file: path,
      image_format: options.format,
      ...(options.xml === undefined ? {} : { dxml: options.xml }),
    };
    await this.#calls.call(P.domainSaveParams, { dom, params: toTypedParams(params), flags }, options);
  }

  /** The protocol does not tell which domain was in the file: its definition does. */
  async restore(path: string, options: SaveOptions = {}): Promise<DomainIdentity> {
    const saved = options.xml ?? (await this.savedXml(path, options));
    await this.#calls.call(P.domainRestoreFlags, { from: path, dxml: options.xml, flags: saveFlags(options) }, options);
    const name = /<name>([^<]*)<\/name>/.exec(saved)?.[1] ?? '';
    const { dom } = await this.#calls.call(P.domainLookupByName, { name: unescapeXml(name) }, options);
    return this.#calls.remember(dom);
  }

  async savedXml(path: string, options: { readonly secure?: boolean } & Waiting = {}): Promise<string> {
    const flags = flagsOf([XmlDescFlag.SECURE, options.secure]);
    return (await this.#calls.call(P.domainSaveImageGetXmlDesc, { file: path, flags }, options)).xml;
  }

  async defineSaved(path: string, xml: string, options: Pick<SaveOptions, 'resume' | 'signal'> = {}): Promise<void> {
    const args = { file: path, dxml: xml, flags: saveFlags(options) };
    await this.#calls.call(P.domainSaveImageDefineXml, args, options);
  }

  async managedSave(uuid: string, options: Omit<SaveOptions, 'xml'> = {}): Promise<void> {
    if (options.format !== undefined) {
      throw new VirtError('the format of managed saves is the server’s setting (save_image_format)', {
        code: ErrorCode.ARGUMENT_UNSUPPORTED,
      });
    }
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainManagedSave, { dom, flags: saveFlags(options) }, options);
  }

  async hasManagedSave(uuid: string, options: Waiting = {}): Promise<boolean> {
    const dom = await this.#calls.domain(uuid, options);
    return (await this.#calls.call(P.domainHasManagedSaveImage, { dom, flags: 0 }, options)).result !== 0;
  }

  async removeManagedSave(uuid: string, options: Waiting = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainManagedSaveRemove, { dom, flags: 0 }, options);
  }

  async managedSaveXml(uuid: string, options: { readonly secure?: boolean } & Waiting = {}): Promise<string> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = flagsOf([XmlDescFlag.SECURE, options.secure]);
    return (await this.#calls.call(P.domainManagedSaveGetXmlDesc, { dom, flags }, options)).xml;
  }

  async defineManagedSave(
    uuid: string,
    xml: string,
    options: Pick<SaveOptions, 'resume' | 'signal'> = {},
  ): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    await this.#calls.call(P.domainManagedSaveDefineXml, { dom, dxml: xml, flags: saveFlags(options) }, options);
  }

  async coreDump(uuid: string, path: string, options: CoreDumpOptions = {}): Promise<void> {
    const dom = await this.#calls.domain(uuid, options);
    const flags = flagsOf(
      [DumpFlag.LIVE, options.live],
      [DumpFlag.CRASH, options.crash],
      [DumpFlag.RESET, options.reset],
      [DumpFlag.BYPASS_CACHE, options.bypassCache],
      [DumpFlag.MEMORY_ONLY, options.memoryOnly],
    );
    const dumpformat = DUMP_FORMATS.indexOf(options.format ?? 'raw');
    await this.#calls.call(P.domainCoreDumpWithFormat, { dom, to: path, dumpformat, flags }, options);
  }
}

function saveFlags({ bypassCache, resume }: Pick<SaveOptions, 'bypassCache' | 'resume'>): number {
  return flagsOf(
    [SaveFlag.BYPASS_CACHE, bypassCache],
    [SaveFlag.RUNNING, resume === 'running'],
    [SaveFlag.PAUSED, resume === 'paused'],
  );
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replaceAll(/&(lt|gt|amp|quot|apos);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
