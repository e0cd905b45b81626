/**
 * QEMU's command line for a definition (`domxml-to-native qemu-argv`), on this host or as another host's QEMU would
 * be started, given its capabilities. Starts nothing; paths are those of libvirt's system tree.
 */
import type { HostFacts } from '../../../host/host-facts.ts';
import { CapabilitiesCache } from '../capabilities/cache.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import { DEFAULT_CONFIG, type QemuConfig } from '../config.ts';
import { Layout, SYSTEM_ROOTS } from '../layout.ts';
import { planFromXml, planLaunch } from '../plan/launch-plan.ts';
import { formatCommand } from '../plan/render.ts';
import { readSlowFacts, viewHost } from './host-view.ts';
import { chance, prepareGuest } from './prepare-guest.ts';

/** Facts and settings of another host, as plain data. */
export interface PlannedHost {
  readonly facts?: Partial<HostFacts>;
  readonly config?: Partial<QemuConfig>;
}

export interface NativeOptions {
  /** Of the QEMU to plan for; its host is then taken to have a usable KVM. Default: this host's, probed or cached. */
  readonly capabilities?: QemuCapabilities | undefined;
  /** What is known of the host to plan for; the rest is read from this one. Goes with `capabilities`. */
  readonly host?: PlannedHost | undefined;
  readonly cache?: CapabilitiesCache | undefined;
  readonly fileName?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The command as a shell would take it, one option a line.
 * @throws XmlSyntaxError, DefinitionError, VirtError
 */
export async function nativeCommand(xml: string, options: NativeOptions = {}): Promise<string> {
  const { capabilities, host: given, signal, fileName } = options;
  const shared = { config: { ...DEFAULT_CONFIG, ...given?.config }, layout: new Layout(SYSTEM_ROOTS), lookup: {} };
  if (capabilities !== undefined) {
    const helpers = await readSlowFacts({ kvm: false, helpers: true, qemu: capabilities.binary }, signal);
    const host = viewHost({ ...helpers, kvm: { usable: true, timeMs: 0 } }, given?.facts);
    const context = { ...shared, ...chance(), caps: capabilities, host };
    return formatCommand(planFromXml(xml, context, fileName === undefined ? {} : { fileName }), capabilities);
  }
  const { context } = await prepareGuest(xml, {
    ...shared,
    cache: options.cache ?? new CapabilitiesCache(),
    fileName,
    signal,
  });
  return formatCommand(planLaunch(context, -1), context.caps);
}
