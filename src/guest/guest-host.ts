/**
 * What the drivers of guests share on one root: its folders, secrets, hook scripts, and the drivers of networks, storage and devices beside
 * them. An embedding program's has one driver of guests, a daemon's all of them.
 */
import { join } from 'node:path';
import type { OpenSiblings, SiblingHooks, Siblings } from '../driver/siblings.ts';
import { MacRegistry } from '../model/domain/mac-registry.ts';
import { HookScripts } from '../process/hook-scripts.ts';
import { DaemonRoot, type DaemonRootOptions } from './daemon-root.ts';
import { type DriverRoot, siblingRootOf } from './driver-root.ts';
import { EmbeddedRoot } from './embedded-root.ts';
import { SecretStore } from './secret-store.ts';

export interface GuestHostOptions {
  /** Called at the starts and ends of guests; default: none. */
  readonly hooks?: HookScripts | undefined;
  /** The drivers beside those of guests; default: none. */
  readonly openSiblings?: OpenSiblings | undefined;
  /** What the user should know and nobody asked for. */
  readonly onNote?: ((note: string) => void) | undefined;
}

export class GuestHost implements AsyncDisposable {
  readonly root: DriverRoot;
  readonly secrets: SecretStore;
  readonly hooks: HookScripts;
  readonly siblings: Siblings | undefined;
  /** MAC addresses of the domains of all drivers here. */
  readonly macs = new MacRegistry();

  private constructor(root: DriverRoot, { hooks, openSiblings, onNote }: GuestHostOptions) {
    this.root = root;
    this.hooks = hooks ?? new HookScripts();
    const secrets = new SecretStore(root.placement === 'daemon' ? join(root.folders.etc, 'secrets') : undefined);
    this.secrets = secrets;
    this.siblings = openSiblings?.({
      root: siblingRootOf(root),
      secrets,
      networkHooks: hooks === undefined ? undefined : networkHooksOf(hooks),
      secretValue: (reference) => secrets.resolve({ type: 'volume', ...reference }),
      onNote: (note) => onNote?.(note),
    });
  }

  /**
   * Opens the root and removes what dead processes left. `root`: kept; default a temporary one.
   * @throws VirtError when the root cannot be used
   */
  static async openEmbedded({
    root: path,
    ...options
  }: GuestHostOptions & { readonly root?: string | undefined }): Promise<GuestHost> {
    const root = EmbeddedRoot.open({ root: path });
    try {
      for (const line of await root.collectDead()) options.onNote?.(line);
      return new GuestHost(root, options);
    } catch (error) {
      await root[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Opens a daemon's state, and finds again what the daemon before had beside its guests.
   * @throws VirtError when the state cannot be used, or another daemon has it
   */
  static async openDaemon(options: GuestHostOptions & DaemonRootOptions): Promise<GuestHost> {
    const root = DaemonRoot.open(options);
    try {
      const host = new GuestHost(root, options);
      for (const problem of host.secrets.load()) options.onNote?.(problem);
      await host.siblings?.takeOver();
      return host;
    } catch (error) {
      await root[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether nobody has started yet what is marked for it: true once for each boot of a daemon's. */
  isFirstSinceBoot(): boolean {
    return this.root instanceof DaemonRoot && this.root.isFirstSinceBoot();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.secrets[Symbol.dispose]();
    await this.siblings?.[Symbol.asyncDispose]();
    await this.root[Symbol.asyncDispose]();
  }
}

function networkHooksOf(hooks: HookScripts): SiblingHooks {
  return {
    has: () => hooks.has('network'),
    run: (call, options) => hooks.run({ driver: 'network', ...call }, options),
    tell: (call) => hooks.tell({ driver: 'network', ...call }),
  };
}
