/**
 * What a file's label was before guests got it, and how many have it: kept on the file itself, in the attributes that libvirt keeps it in, so
 * that both count together. Each holder has a name of its own, beside libvirt's count, so that a release that is done twice counts once.
 */
import type { HeldFile } from './held-file.ts';
import { SecurityError, type SecurityModel } from './label-plan.ts';
import { type XattrBackend, XattrError } from './xattr.ts';

export interface LabelMemory {
  /**
   * Counts a holder in. @returns how many there are now, or undefined where the file system keeps no attributes
   * @throws SecurityError
   */
  hold(file: HeldFile, model: SecurityModel, before: string, holder: string): number | undefined;
  /** Counts a holder out. */
  release(file: HeldFile, model: SecurityModel, holder: string): Release;
}

/** `last`: the label is to be given back, to what was remembered where something was. */
export type Release =
  | { readonly kind: 'in use' }
  | { readonly kind: 'last'; readonly before: string }
  | { readonly kind: 'unknown' };

export interface LabelMemoryOptions {
  readonly xattrs: XattrBackend;
  /** Names of the attributes begin with it; default: libvirt's. */
  readonly prefix?: string;
  /** Names of ours begin with it. */
  readonly ownPrefix?: string;
  /** Seconds since 1970: what was remembered in an earlier life of the host is void. */
  readonly bootTime: number;
}

/** Two ways of asking the kernel may differ by so many seconds. */
const BOOT_TIME_SLACK = 2;
/** File systems without attributes, and mounts where they may not be set. */
const UNSUPPORTED: ReadonlySet<string> = new Set(['ENOTSUP', 'ENOSYS', 'EPERM', 'EROFS', 'EACCES']);

export function xattrMemory(options: LabelMemoryOptions): LabelMemory {
  const memory = new XattrMemory(options);
  const guarded = <T>(file: HeldFile, otherwise: T, work: () => T): T => {
    try {
      return work();
    } catch (cause) {
      if (!(cause instanceof XattrError)) throw cause;
      if (UNSUPPORTED.has(cause.errno)) return otherwise;
      throw new SecurityError(`cannot remember the label of '${file.path}': ${cause.errno}`, {
        path: file.path,
        errno: cause.errno,
        cause,
      });
    }
  };
  return {
    hold: (file, model, before, holder) =>
      guarded(file, undefined, () => memory.hold(file.handle, model, before, holder)),
    release: (file, model, holder) =>
      guarded<Release>(file, { kind: 'unknown' }, () => memory.release(file.handle, model, holder)),
  };
}

class XattrMemory {
  readonly #xattrs: XattrBackend;
  readonly #prefix: string;
  readonly #ownPrefix: string;
  readonly #bootTime: number;

  constructor({
    xattrs,
    bootTime,
    prefix = 'trusted.libvirt.security.',
    ownPrefix = 'trusted.nestling.security.',
  }: LabelMemoryOptions) {
    this.#xattrs = xattrs;
    this.#prefix = prefix;
    this.#ownPrefix = ownPrefix;
    this.#bootTime = bootTime;
  }

  hold(path: string, model: string, before: string, holder: string): number {
    this.#forgetEarlierBoots(path, model);
    const count = this.#count(path, model);
    const holders = this.#holders(path, model);
    if (holders.includes(holder)) return count;
    // The holder first: after a crash between the two there are more holders than are counted, which tells that this one is not.
    this.#set(path, this.#own(model), [...holders, holder].join(','));
    if (count === 0) {
      this.#set(path, `${this.#prefix}${model}`, before);
      this.#set(path, `${this.#prefix}timestamp_${model}`, String(this.#bootTime));
    }
    this.#set(path, `${this.#prefix}ref_${model}`, String(count + 1));
    return count + 1;
  }

  release(path: string, model: string, holder: string): Release {
    this.#forgetEarlierBoots(path, model);
    const holders = this.#holders(path, model);
    const count = this.#count(path, model);
    if (!holders.includes(holder)) return count > 0 ? { kind: 'in use' } : { kind: 'unknown' };
    const others = holders.filter((name) => name !== holder);
    const remaining = count < holders.length ? count : count - 1;
    if (remaining > 0) {
      this.#set(path, `${this.#prefix}ref_${model}`, String(remaining));
      this.#set(path, this.#own(model), others.join(','));
      return { kind: 'in use' };
    }
    const before = this.#get(path, `${this.#prefix}${model}`);
    this.#forget(path, model);
    return before === undefined ? { kind: 'unknown' } : { kind: 'last', before };
  }

  #count(path: string, model: string): number {
    const text = this.#get(path, `${this.#prefix}ref_${model}`) ?? '0';
    return /^\d{1,9}$/.test(text) ? Number(text) : 0;
  }

  #holders(path: string, model: string): string[] {
    return (this.#get(path, this.#own(model)) ?? '').split(',').filter(Boolean);
  }

  #forgetEarlierBoots(path: string, model: string): void {
    const then = this.#get(path, `${this.#prefix}timestamp_${model}`);
    if (then === undefined || Math.abs(Number(then) - this.#bootTime) <= BOOT_TIME_SLACK) return;
    this.#forget(path, model);
  }

  #forget(path: string, model: string): void {
    for (const name of [`ref_${model}`, `timestamp_${model}`, model]) this.#xattrs.remove(path, this.#prefix + name);
    this.#xattrs.remove(path, this.#own(model));
  }

  #own(model: string): string {
    return `${this.#ownPrefix}holders_${model}`;
  }

  #get(path: string, name: string): string | undefined {
    // The C library's users end their values with a zero byte, and so does libvirt's.
    return this.#xattrs.get(path, name)?.toString('utf8').replace(/\0+$/, '');
  }

  #set(path: string, name: string, value: string): void {
    this.#xattrs.set(path, name, Buffer.from(value));
  }
}
